// The sample viewer: groups on the left, the chosen group's samples side by side on the right.
// Everything that a model or a data set wrote is shown through textContent.

import {$, el, getJson, number, visible} from "/util.js";

const GROUPS_MAX = 64;
const TEXT_SHOWN = 20000;  // characters, until asked for more
const TAG = /(<\/?(?:think|answer)>)/;

const state = {groups: [], chosen: null, steps: "", range: [0, 1]};

const groupKey = (s) => [s.stage, s.step, s.purpose, s.group_id].join("|");

function toGroups(samples) {
  const groups = new Map();
  for (const sample of samples) {
    const key = groupKey(sample);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(sample);
  }
  return [...groups].map(([key, list]) => ({key, samples: list}));
}

const rewardOf = (sample) => Number(sample.reward);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// Red over amber to green, over the rewards at hand.
function rewardColor(reward) {
  const [low, high] = state.range;
  if (!Number.isFinite(reward)) return "#888";
  const part = high > low ? Math.min(1, Math.max(0, (reward - low) / (high - low))) : 1;
  return `hsl(${Math.round(part * 145)} 52% ${Math.round(46 - part * 10)}%)`;
}

function filters() {
  const bound = (id, otherwise) => ($(id).value === "" ? otherwise : Number($(id).value));
  const text = $("sample-text").value.toLowerCase();
  const [low, high] = [bound("reward-min", -Infinity), bound("reward-max", Infinity)];
  return (sample) => rewardOf(sample) >= low && rewardOf(sample) <= high &&
    (!text || (sample.prompt + "\n" + sample.answer + "\n" + sample.text).toLowerCase()
      .includes(text));
}

// The text in pieces: tags dim, thinking and answer in their own colours.
function addText(node, sample, fold) {
  let inside = sample.think_prefilled ? "think" : "";
  for (const piece of visible(sample.text).slice(0, TEXT_SHOWN).split(TAG)) {
    if (!piece) continue;
    if (TAG.test(piece)) {
      inside = piece.startsWith("</") ? "" : piece.slice(1, -1);
      node.append(el("span", {class: "tag"}, piece));
    } else if (inside === "think" && fold) {
      node.append(el("span", {class: "tag"}, `… ${piece.length} characters …`));
    } else {
      node.append(el("span", {class: inside, dir: "auto"}, piece));
    }
  }
}

function card(sample, matches) {
  const facts = el("div", {class: "facts"},
    el("span", {}, "#" + sample.sample_index),
    el("b", {style: {background: rewardColor(rewardOf(sample))}, title: "reward"},
      number(rewardOf(sample))),
    el("span", {title: "advantage"}, "adv " + number(Number(sample.advantage))),
    el("span", {}, sample.tokens + " tokens"),
    sample.finish_reason === "FINISH_REASON_LENGTH" ? el("span", {class: "warn"}, "cut off") : null,
    sample.masked ? el("span", {class: "bad"}, "masked") : null);
  for (const part of sample.parts) {
    facts.append(el("span", {class: "parts"},
      `${visible(part.name)} ${number(Number(part.value))} · ${visible(part.reason)}`));
  }
  const text = el("pre", {class: "txt", dir: "auto"});
  addText(text, sample, $("fold").checked);
  const body = el("div", {class: "body"}, text);
  if (sample.text.length > TEXT_SHOWN) {
    body.append(el("button", {onclick: (event) => {
      text.textContent = visible(sample.text);
      event.target.remove();
    }}, `show all ${sample.text.length} characters`));
  }
  return el("div", {class: matches ? "card" : "card dim"}, facts, body);
}

function showGroup() {
  const pane = $("group");
  const group = state.chosen;
  if (!group) {
    pane.replaceChildren(el("p", {class: "empty"}, state.groups.length
      ? "No group matches." : "No samples yet."));
    return;
  }
  const first = group.samples[0];
  const wanted = filters();
  pane.replaceChildren(
    el("div", {class: "ask"},
      el("div", {}, el("h3", {}, `${first.stage} step ${first.step} · ${first.purpose} group ` +
        `${first.group_id} · policy ${first.policy_version}`),
        el("pre", {class: "txt", dir: "auto"}, visible(first.prompt).slice(0, TEXT_SHOWN))),
      el("div", {}, el("h3", {}, "answer"),
        el("pre", {class: "txt answer", dir: "auto"}, visible(first.answer))),
      el("span", {class: "space"}),
      el("button", {title: "the whole group as JSON", onclick: copy}, "copy")),
    el("div", {class: "cards"}, ...group.samples.map((s) => card(s, wanted(s)))));
}

async function copy(event) {
  try {
    await navigator.clipboard.writeText(JSON.stringify(state.chosen.samples, null, 1));
    event.target.textContent = "copied";
  } catch {
    event.target.textContent = "not allowed";  // the browser may refuse the clipboard
  }
}

function entry(group) {
  const first = group.samples[0];
  const rewards = group.samples.map(rewardOf);
  const item = el("li", {class: state.chosen && group.key === state.chosen.key ? "on" : "",
    tabindex: 0, onclick: () => choose(group, true), onkeydown: (event) => {
      if (event.key === "Enter") choose(group, true);
    }},
    el("div", {class: "what"}, `${first.stage} ${first.step}`,
      first.purpose === "eval" ? el("span", {class: "warn"}, "eval") : null,
      el("b", {title: "mean reward"}, number(mean(rewards)))),
    el("div", {class: "ask", dir: "auto"}, visible(first.prompt).slice(0, 200)),
    el("div", {class: "dots"}, ...rewards.map((reward) =>
      el("i", {style: {background: rewardColor(reward)}, title: number(reward)}))));
  return item;
}

// `byHand`: the reader looks at this one, so newer samples must not push it away.
function choose(group, byHand) {
  state.chosen = group;
  if (byHand) $("follow").checked = false;
  render();
}

function render() {
  const wanted = filters();
  const shown = state.groups.filter((group) => group.samples.some(wanted));
  if (!shown.some((group) => state.chosen && group.key === state.chosen.key)) {
    state.chosen = shown[0] || null;
  }
  $("groups").replaceChildren(...shown.map(entry));
  showGroup();
}

function setSteps(available) {
  const purpose = $("sample-purpose").value;
  const steps = available.filter((step) => !purpose || step.purpose === purpose);
  const text = JSON.stringify(steps);
  if (text === state.steps) return;
  state.steps = text;
  const select = $("sample-step");
  const value = select.value;
  select.replaceChildren(el("option", {value: ""}, "newest"), ...steps.map((step) =>
    el("option", {value: JSON.stringify([step.stage, step.step, step.purpose])},
      `${step.stage} ${step.step} ${step.purpose} (${step.groups})`)));
  select.value = [...select.options].some((option) => option.value === value) ? value : "";
}

export async function loadSamples() {
  const query = new URLSearchParams({groups_max: GROUPS_MAX});
  const step = $("sample-step").value;
  if (step) {
    const [stage, number_, purpose] = JSON.parse(step);
    query.set("stage", stage);
    query.set("step", number_);
    query.set("purpose", purpose);
  } else if ($("sample-purpose").value) {
    query.set("purpose", $("sample-purpose").value);
  }
  const reply = await getJson("/api/v1/samples?" + query);
  setSteps(reply.available);
  state.groups = toGroups(reply.samples);
  const rewards = reply.samples.map(rewardOf).filter(Number.isFinite);
  state.range = [Math.min(0, ...rewards), Math.max(...rewards, 0)];
  if ($("follow").checked) state.chosen = null;
  const again = state.chosen && state.groups.find((group) => group.key === state.chosen.key);
  if (again) state.chosen = again;
  render();
}

export const following = () => $("follow").checked && !$("sample-step").value;

// `reload` fetches and reports failure as the poll does.
export function startSamples(reload) {
  for (const id of ["reward-min", "reward-max", "sample-text", "fold"]) {
    $(id).addEventListener("input", render);
  }
  for (const id of ["sample-step", "sample-purpose"]) $(id).addEventListener("change", reload);
  $("follow").addEventListener("change", () => { if ($("follow").checked) reload(); });
}
