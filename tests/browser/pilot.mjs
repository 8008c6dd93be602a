// A person at the page, in a real browser. Reads one step a line from standard input (JSON: {"step": NAME, …}), does
// it as a person would, and answers with one line: {"told": …} or {"failed": WHY}. Ends with its input. The tests that
// say what has to come of it are in tests/it/page.rs, which also see the gateway and its backends.
//
// node pilot.mjs URL FOLDER: the page, and where pictures go.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import axe from "axe-core";
import { chromium } from "playwright-core";

const [url, pictures] = process.argv.slice(2);
const PATIENCE_MS = 30_000;
// The flags let it start as root and keep it from calling home.
const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const SCREENS = {
  desk: { viewport: { width: 1440, height: 900 } },
  night: { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  phone: { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
};

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
let page;
/** What the browser complained about: scripts that broke, and what the page's policy forbade. */
let complaints = [];
/** How often the API asked for a token. */
let refusals = 0;

const button = (name) => page.getByRole("button", { name, exact: true });
const dialog = () => page.getByRole("dialog");
const line = (upstream) => page.locator("tr.line").filter({ has: page.getByText(upstream, { exact: true }) });
const backend = (name) => page.locator("li.backend").filter({ has: page.getByText(name, { exact: true }) });

const steps = {
  /** A fresh browser at the page. */
  async open({ screen = "desk", scheme = "light", clock = false }) {
    await page?.context().close();
    const context = await browser.newContext({ ...SCREENS[screen], colorScheme: scheme });
    context.setDefaultTimeout(PATIENCE_MS);
    page = await context.newPage();
    if (clock) await page.clock.install();
    page.on("response", (answer) => (refusals += answer.status() === 401 ? 1 : 0));
    page.on("console", (message) => message.type() === "error" && complaints.push(`${message.text()} (${message.location().url})`));
    page.on("pageerror", (error) => complaints.push(String(error.stack ?? error)));
    const answer = await page.goto(url);
    await page.locator("h1").waitFor();
    return answer.headers()["content-security-policy"];
  },

  /** How often the API asked for a token by now, after so many minutes more of the page's own clock. */
  async refusals({ minutes = 0 }) {
    for (let each = 0; each < minutes; each += 1) {
      await page.clock.runFor(60_000);
      // What the page asked for then is answered before the next minute.
      await page.evaluate(() => fetch("./").then(({ status }) => status));
    }
    return refusals;
  },

  async sign_in({ token }) {
    await page.getByLabel("Token").fill(token);
    await button("Sign in").click();
    await page.locator(".refused, .bar").first().waitFor();
    return page.locator("body").innerText();
  },

  /** What a line of the table says, by the title of its column. */
  async numbers({ upstream }) {
    await line(upstream).waitFor();
    return line(upstream).evaluate((row) => {
      const cells = [...row.querySelectorAll("td[data-label]")];
      const told = Object.fromEntries(cells.map((cell) => [cell.dataset.label, cell.innerText.trim()]));
      return { ...told, State: row.querySelector(".word").textContent, Why: row.querySelector(".because")?.innerText ?? "" };
    });
  },

  async look_into({ upstream }) {
    await line(upstream).getByRole("button").click();
    await page.locator("li.backend").first().waitFor();
  },

  /** The lines from the top, by name. */
  async order() {
    return page.locator("tr.line .name").allInnerTexts();
  },

  /** Puts the pointer on a line and holds it down. */
  async hold({ upstream }) {
    await line(upstream).hover();
    await page.mouse.down();
  },

  /** And lets go, somewhere else. */
  async release() {
    await page.mouse.move(5, 5);
    await page.mouse.up();
  },

  /** Opens all that is folded. */
  async unfold() {
    await page.locator("details").evaluateAll((all) => all.forEach((each) => (each.open = true)));
  },

  /** Moves a backend's slider by keyboard, as far as the forecast of that value. */
  async slide({ name, percent }) {
    const slider = backend(name).getByRole("slider");
    await slider.focus();
    await slider.press("Home");
    for (let at = 0; at < percent; at += 1) await slider.press("ArrowRight");
    const forecast = backend(name).locator(".forecast").filter({ hasText: `At ${percent} %` });
    await forecast.waitFor();
    return forecast.innerText();
  },

  async apply({ name, reason, then }) {
    await backend(name).getByPlaceholder("Why").fill(reason);
    if (then !== undefined) await backend(name).getByRole("combobox").selectOption(then);
    await backend(name).getByRole("button", { name: /^Apply/ }).click();
    await backend(name).getByText(reason).waitFor();
    return backend(name).innerText();
  },

  async backend({ name }) {
    return backend(name).innerText();
  },

  /** Presses a button of the page, or of the dialog that is open. */
  async press({ name, within }) {
    const place = within === undefined ? page : page.locator(within);
    await place.getByRole("button", { name, exact: true }).first().click();
  },

  /** Presses a button that asks why, says why, and presses the second one. */
  async say_word({ word, confirm, reason, within = "main" }) {
    await page.locator(within).getByRole("button", { name: word, exact: true }).first().click();
    const said = await dialog().innerText();
    await dialog().getByLabel("Why").fill(reason);
    await dialog().getByRole("button", { name: confirm }).click();
    await dialog().waitFor({ state: "detached" });
    return said;
  },

  async drain({ name, reason }) {
    await backend(name).getByRole("button", { name: "Drain" }).click();
    const said = await dialog().innerText();
    await dialog().getByLabel("Why").fill(reason);
    await dialog().getByRole("button", { name: "Drain it" }).click();
    await dialog().waitFor({ state: "detached" });
    return said;
  },

  /** Fills in the words of an incident, and says whatever the button says. */
  async say_incident({ title, upstream, text, freeze = false, button: name }) {
    if (title !== undefined) await dialog().getByLabel("Title", { exact: true }).fill(title);
    if (upstream !== undefined) await dialog().getByRole("checkbox", { name: upstream, exact: true }).check();
    await dialog().getByRole("textbox", { name: /^What is/ }).fill(text);
    await dialog().getByRole("checkbox", { name: /^Freeze/ }).setChecked(freeze);
    await dialog().getByRole("button", { name, exact: true }).click();
    await dialog().waitFor({ state: "detached" });
  },

  /** The two clicks. */
  async roll_back({ names }) {
    await button("Rollback").click();
    const confirm = dialog().getByRole("button", { name: names });
    await confirm.waitFor();
    const said = await dialog().innerText();
    await confirm.click();
    await dialog().waitFor({ state: "detached" });
    return said;
  },

  /** The same without a mouse. */
  async roll_back_by_keyboard({ names, reason }) {
    await page.evaluate(() => document.activeElement?.blur());
    for (let tabs = 0; tabs < 20; tabs += 1) {
      await page.keyboard.press("Tab");
      if (await page.evaluate(() => document.activeElement?.textContent === "Rollback")) break;
    }
    await page.keyboard.press("Enter");
    await dialog().getByRole("button", { name: names }).waitFor();
    await page.keyboard.type(reason);
    await page.keyboard.press("Enter");
    await dialog().waitFor({ state: "detached" });
    return page.evaluate(() => document.activeElement?.textContent);
  },

  /** Waits until the page, or a part of it, says this, and returns all that it says. */
  async sees({ text, within = "body" }) {
    await page.locator(within).filter({ hasText: text }).first().waitFor();
    return page.locator(within).first().innerText();
  },

  async sees_no_more({ text }) {
    await page.getByText(text).first().waitFor({ state: "detached" });
  },

  /** Buttons and sliders that may not be used, by name, with why. */
  async locked() {
    const all = page.locator("button[aria-disabled=true], input[type=range]:disabled");
    return all.evaluateAll((found) => found.map((each) => [each.textContent || "slider", each.getAttribute("aria-description")]));
  },

  /** The rules of accessibility that the page breaks seriously, by the tags of WCAG 2. */
  async broken_rules() {
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    return serious.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(" | ")}`);
  },

  /** What can be read without scrolling, and where the bar and the way back stand. */
  async first_screen() {
    return page.evaluate(() => {
      const seen = [];
      const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      const range = document.createRange();
      for (let node = walk.nextNode(); node !== null; node = walk.nextNode()) {
        range.selectNodeContents(node);
        const { width, top, bottom } = range.getBoundingClientRect();
        const isThere = width > 1 && top >= 0 && bottom <= innerHeight && node.parentElement.checkVisibility();
        if (isThere && node.parentElement.closest(".sr-only, thead") === null) seen.push(node.data);
      }
      const box = (element) => element.getBoundingClientRect().toJSON();
      return { says: seen.join(""), bar: box(document.querySelector(".bar")), rollback: box(document.querySelector("button.rollback")) };
    });
  },

  /** How much wider the page, or a dialog inside, is than its place, and what is smaller than a finger. */
  async fits() {
    return page.evaluate(() => {
      const root = document.documentElement;
      const inside = [...document.querySelectorAll("dialog")].map((each) => each.scrollWidth - each.clientWidth);
      const pressed = [...document.querySelectorAll("button, select, summary, input:not([type=radio], [type=checkbox])")];
      const small = pressed.filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 44);
      return { beyond: Math.max(root.scrollWidth - innerWidth, ...inside), small: small.map((each) => each.outerHTML) };
    });
  },

  /** Seconds from asking for the page to its lines, and the longest that it did not answer to input then. */
  async pace({ lines, seconds }) {
    const begin = performance.now();
    await page.reload();
    await page.waitForFunction((count) => document.querySelectorAll("tr.line").length >= count, lines);
    const shown = (performance.now() - begin) / 1_000;
    const blocked = await page.evaluate(
      (ms) =>
        new Promise((resolve) => {
          const tasks = [];
          const watch = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)));
          watch.observe({ type: "longtask" });
          setTimeout(() => resolve(Math.max(0, ...tasks) / 1_000), ms);
        }),
      seconds * 1_000,
    );
    return { shown, blocked, nodes: await page.evaluate(() => document.querySelectorAll("*").length) };
  },

  async picture({ name, whole = false }) {
    mkdirSync(pictures, { recursive: true });
    await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: whole });
  },

  /** What the browser complained about since the last time. */
  async complaints() {
    const told = complaints;
    complaints = [];
    return told;
  },
};

const say = (told) => process.stdout.write(`${JSON.stringify(told)}\n`);

for await (const text of createInterface({ input: process.stdin })) {
  const { step, ...how } = JSON.parse(text);
  try {
    say({ told: (await steps[step](how)) ?? null });
  } catch (error) {
    await steps.picture({ name: `failed-${step}` }).catch(() => undefined);
    say({ failed: String(error.stack ?? error) });
  }
}
await browser.close();
