// Numbers with their units, short enough for a line. What is not known is a dash.

const NONE = "–";

export function count(value: number | null | undefined): string {
  if (value == null) return NONE;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  return `${Math.round(value)}`;
}

/** Per second; small rates keep a decimal, and what is not nothing does not look like it. */
export function rate(value: number | null | undefined): string {
  if (value == null) return NONE;
  if (value === 0) return "0/s";
  if (value < 0.1) return "<0.1/s";
  return value < 10 ? `${value.toFixed(1)}/s` : `${count(value)}/s`;
}

export function seconds(value: number | null | undefined): string {
  if (value == null) return NONE;
  const ms = value * 1_000;
  if (ms < 1) return ms === 0 ? "0 ms" : "<1 ms";
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  return value < 10 ? `${value.toFixed(1)} s` : `${Math.round(value)} s`;
}

export function percent(value: number | null | undefined): string {
  if (value == null) return NONE;
  const digits = value > 0 && value < 10 && value % 1 !== 0 ? 1 : 0;
  return `${value.toFixed(digits)} %`;
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}
