// Shows /v1/status as text, once a second.
const at = (id) => document.getElementById(id);
let token = "";
async function look() {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const answer = await fetch("/v1/status", { headers });
    const said = await answer.json();
    at("said").textContent = answer.ok ? "" : said.detail;
    at("status").textContent = answer.ok ? JSON.stringify(said, null, 2) : "";
  } catch {
    at("said").textContent = "The gateway does not answer.";
  }
}
at("who").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value;
  look();
});
look();
setInterval(look, 1000);
