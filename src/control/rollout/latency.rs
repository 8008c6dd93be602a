//! Whether answers take longer than beside, or than before.
