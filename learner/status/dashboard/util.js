// Small helpers of the dashboard. Data becomes text only through textContent: no markup of a sample
// is ever parsed.

export const $ = (id) => document.getElementById(id);

// el("td", {class: "n", title: "…"}, "text" or nodes…)
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") Object.assign(node.style, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

// Sets text only when it changes, so that a selection survives the poll.
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function cssColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
export const seriesColor = (i) => cssColor(`--c${i % 8}`);

// Control characters and the marks that turn the reading direction are shown, not obeyed.
const HIDDEN = new RegExp("[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u200b-\\u200f" +
  "\\u202a-\\u202e\\u2066-\\u2069\\ufeff]", "g");
export function visible(text) {
  return text.replace(HIDDEN, (c) =>
    `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

// Three significant digits, never longer than about seven characters.
export function number(value) {
  if (value == null) return "–";
  if (!Number.isFinite(value)) return String(value).replace("Infinity", "∞");
  const size = Math.abs(value);
  if (size === 0) return "0";
  const short = (scaled) => String(Number(scaled.toPrecision(3)));
  if (size >= 1e9) return short(value / 1e9) + "G";
  if (size >= 1e6) return short(value / 1e6) + "M";
  if (size >= 1e4) return short(value / 1e3) + "k";
  if (size >= 1000) return value.toFixed(0);
  if (size < 1e-3) return value.toExponential(1).replace(".0e", "e").replaceAll("-", "−");
  return short(value).replace("-", "−");
}

export function duration(seconds) {
  if (!(seconds >= 0)) return "–";
  if (seconds < 10) return seconds.toFixed(1) + " s";
  if (seconds < 100) return seconds.toFixed(0) + " s";
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return minutes + " min";
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export const clock = (unixSeconds) =>
  new Date(unixSeconds * 1000).toLocaleTimeString([], {hour12: false});

// The learner did not answer, or not with what was asked for; any other error is this page's fault.
export class Unreachable extends Error {}

export async function getJson(path) {
  try {
    const reply = await fetch(path, {signal: AbortSignal.timeout(8000), cache: "no-store"});
    if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
    return await reply.json();
  } catch (error) {
    throw new Unreachable(`${path}: ${error.message}`);
  }
}
