"use strict";
// Rows and columns are drawn only where they are visible: there may be a thousand by thousands.
// Everything that people wrote is set as text, never as markup.

const STATES = [
  { mark: "✕", css: "refused", brief: "refused", text: "The guardrails refuse the rule, so jobs do not get it" },
  { mark: "○", css: "via", brief: "via only", text: "Assumed first, to reach another role (via); jobs do not get it" },
  { mark: "●", css: "no", brief: "branches, tags", text: "Builds of branches and tags only" },
  { mark: "◆", css: "same-repository", brief: "own pull requests", text: "Also pull requests from the same repository" },
  { mark: "▲", css: "any", brief: "forks too", text: "Any pull request, including those from forks" },
];
const COLUMN = 30, FOLDED = 34, NARROWEST = 130, GAP = 10, HEADS = 216, FEW = 40;
const byId = id => document.getElementById(id);
const phone = matchMedia("(max-width: 44rem)");

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {}))
    if (value !== undefined && value !== false) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
const marked = state => make("span", { class: STATES[state].css, title: STATES[state].text }, STATES[state].mark);
const counted = (number, one, many) => `${number} ${number === 1 ? one : many || one + "s"}`;

// ---- The data, as bootstrap/policy/access_map.py lays it out.

async function unpacked() {
  const packed = Uint8Array.from(atob(byId("data").textContent.trim()), char => char.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

function decoded(raw) {
  const text = number => raw.texts[number];
  const nameOf = id => raw.accounts[id] || "";
  const targets = raw.targets.map(([kind, name, account], index) => ({
    index, kind: text(kind), name: text(name), account, accountName: account && nameOf(account),
    short: account ? text(name).replace(/^.*\//, "") : text(name),
  }));
  const groups = new Map();
  for (const target of targets) {
    const key = target.account || target.kind;
    if (!groups.has(key)) groups.set(key, { key, targets: [], account: target.account,
      name: target.account ? target.accountName || key : target.kind });
    groups.get(key).targets.push(target);
    target.group = groups.get(key);
  }
  const order = [...groups.values()].sort((a, b) =>
    rank(a) - rank(b) || a.name.localeCompare(b.name));
  for (const group of order) group.targets.sort((a, b) => a.name.localeCompare(b.name));
  const pipelines = raw.pipelines.map(([name, repositories, rules]) =>
    pipeline(text(name), repositories.map(text), rules.map(rule => decodedRule(rule, text, targets))));
  return { ...raw, targets, groups: order, pipelines };
}

/** Accounts with a name first, then those without, then everything that is in no account. */
const rank = group => group.account ? (group.name === group.key ? 1 : 0) : 2;

function decodedRule([name, when, reach, used, via, notes, excess], text, targets) {
  const uses = [];
  for (let at = 0; at < used.length; at += 2) uses.push({ target: targets[used[at]], called: text(used[at + 1]) });
  return {
    name: text(name), when: when.map(text), uses, via: via.map(number => targets[number]),
    notes: notes.map(pair => pair.map(text)), excess: excess.map(text), state: excess.length ? 0 : 2 + reach,
  };
}

function pipeline(name, repositories, rules) {
  const cells = new Map(), byGroup = new Map();
  const add = (target, state) => {
    if (!cells.has(target)) {
      if (!byGroup.has(target.group)) byGroup.set(target.group, []);
      byGroup.get(target.group).push(target);
    }
    cells.set(target, Math.max(state, cells.get(target) ?? 0));
  };
  for (const rule of rules) {
    for (const { target } of rule.uses) add(target, rule.state);
    for (const target of rule.via) add(target, Math.min(rule.state, 1));
  }
  return { name, repositories, rules, cells, byGroup, texts: {}, state: Math.max(-1, ...cells.values()) };
}

// ---- The filter.

const inRole = target => target.account ? `${target.name}` : null;
const inAccount = target => target.account ? `${target.account} ${target.accountName}` : null;
const inSecret = target => target.account ? null : `${target.kind} ${target.name}`;
const OF_TARGET = { role: inRole, account: inAccount, secret: inSecret };

function textOf(one, field) {
  const rules = () => one.rules.flatMap(rule => [rule.name, ...rule.when]);
  const all = () => [one.name, ...one.repositories, ...rules(),
    ...one.rules.flatMap(rule => [...rule.notes.map(note => note.join(" ")), ...rule.excess, ...rule.uses.map(use => use.called)]),
    ...[...one.cells.keys()].map(target => `${target.kind} ${target.name} ${target.account} ${target.accountName}`)];
  const parts = { pipeline: () => [one.name], condition: rules, anything: all }[field];
  return one.texts[field] ??= parts().join("\n").toLowerCase();
}

const SHOW = {
  all: () => true,
  open: one => one.state >= 3,
  forks: one => one.state === 4,
  refused: one => one.rules.some(rule => rule.excess.length),
  nothing: one => one.cells.size === 0,
};

let map, rows = [], columns = [], wanted = null, everyRole = false, width = 0;
const choice = new Map(); // group -> whether the reader opened or folded it
let active = { row: 0, column: -1 };

function apply() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const field = byId("field").value, show = SHOW[byId("show").value];
  const fits = text => words.every(word => text.includes(word));
  const ofTarget = words.length && OF_TARGET[field];
  wanted = null;
  if (ofTarget) wanted = new Set(map.targets.filter(target => {
    const text = ofTarget(target);
    return text !== null && fits(text.toLowerCase());
  }));
  rows = map.pipelines.filter(one => show(one) && (!words.length ||
    (wanted ? [...one.cells.keys()].some(target => wanted.has(target)) : fits(textOf(one, field)))));
  active = { row: 0, column: -1 };
  byId("scroller").scrollTo(0, 0);
  lay();
}

/** Decide which columns there are, and where. */
function lay() {
  const used = new Set();
  for (const one of rows) for (const target of one.cells.keys()) if (!wanted || wanted.has(target)) used.add(target);
  const few = used.size <= FEW;
  columns = [];
  let x = 0;
  for (const group of map.groups) {
    group.shown = group.targets.filter(target => used.has(target));
    if (!group.shown.length) continue;
    group.open = choice.get(group) ?? (everyRole || few);
    group.x = x;
    if (group.open) for (const target of group.shown) { columns.push({ group, target, x, width: COLUMN }); x += COLUMN; }
    else { columns.push({ group, x, width: FOLDED }); x += FOLDED; }
    if (group.open) x = Math.max(x, group.x + NARROWEST);
    group.width = x - group.x;
    x += GAP;
  }
  width = x;
  if (phone.matches) columns = [];
  const roles = [...used].filter(target => target.account).length;
  byId("count").textContent = `${rows.length} of ${counted(map.pipelines.length, "pipeline")}, ${counted(roles, "role")}`;
  byId("none").hidden = rows.length > 0;
  byId("canvas").hidden = rows.length === 0;
  render();
}

function stateOf(one, column) {
  if (column.target) return { state: one.cells.get(column.target) ?? -1, number: 1 };
  const here = (one.byGroup.get(column.group) || []).filter(target => !wanted || wanted.has(target));
  return { state: Math.max(-1, ...here.map(target => one.cells.get(target))), number: here.length };
}

// ---- The grid.

const rowHeight = () => phone.matches ? 56 : 29;
const headsHeight = () => phone.matches ? 0 : HEADS;
let headWidth = 240;

function render() {
  const scroller = byId("scroller"), canvas = byId("canvas"), height = rowHeight();
  const focused = canvas.contains(document.activeElement) && document.activeElement.dataset.row !== undefined;
  canvas.style.height = `${headsHeight() + rows.length * height}px`;
  canvas.style.width = phone.matches ? "100%" : `${headWidth + width}px`;
  canvas.setAttribute("aria-rowcount", rows.length + 1);
  canvas.setAttribute("aria-colcount", columns.length + 1);
  const from = scroller.scrollLeft - 40, to = from + scroller.clientWidth - headWidth + 80;
  const visible = [];
  for (let at = firstColumn(from); at < columns.length && columns[at].x < to; at++) visible.push(at);
  renderHeads(visible);
  const first = Math.max(0, Math.floor(scroller.scrollTop / height) - 2);
  const last = Math.min(rows.length, first + Math.ceil(scroller.clientHeight / height) + 4);
  const drawn = [];
  for (let at = first; at < last; at++) drawn.push(renderRow(at, visible, height));
  byId("rows").replaceChildren(...drawn);
  if (focused) (canvas.querySelector('[tabindex="0"][data-row]') || scroller).focus({ preventScroll: true });
}

function firstColumn(x) {
  let low = 0, high = columns.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (columns[middle].x + columns[middle].width < x) low = middle + 1; else high = middle;
  }
  return low;
}

function renderHeads(visible) {
  if (phone.matches) return;
  const corner = make("div", { class: "corner", role: "columnheader", "aria-colindex": 1, "aria-label": "pipeline" },
    ...STATES.map((one, state) => make("div", {}, marked(state), ` ${one.brief}`)).reverse());
  const heads = [corner], groups = new Set();
  for (const at of visible) {
    const { group, target, x } = columns[at];
    if (!groups.has(group)) { groups.add(group); heads.push(...groupHead(group)); }
    const place = { role: "columnheader", "aria-colindex": at + 2, "data-row": -1, "data-column": at,
      tabindex: active.row === -1 && active.column === at ? 0 : -1 };
    const head = target
      ? make("button", { class: "role", title: target.name, ...place }, make("span", {}, target.short))
      : make("button", { class: "folded", title: `${groupTitle(group)}: ${group.shown.length}`, "aria-expanded": "false", ...place },
        make("span", {}, `${group.name} `, ending(group)));
    head.style.left = `${headWidth + x}px`;
    heads.push(head);
  }
  byId("heads").replaceChildren(...heads);
}

/** The end of the id of an account that has a name. */
const ending = group => make("small", {}, group.account && group.name !== group.key ? `…${group.key.slice(-4)}` : "");

const groupTitle = group => group.account && group.name !== group.key ? `${group.name} (${group.key})` : group.name;

function groupHead(group) {
  const divider = make("div", { class: "divider" });
  divider.style.left = `${headWidth + group.x - GAP / 2}px`;
  if (!group.open) return [divider];
  const head = make("button", { class: "group", title: `Fold ${groupTitle(group)}`, "aria-expanded": "true" },
    make("span", {}, `▾ ${group.name} `, ending(group)));
  head.addEventListener("click", () => fold(group, false));
  head.style.left = `${headWidth + group.x}px`;
  head.style.width = `${group.width}px`;
  return [divider, head];
}

function fold(group, open) {
  choice.set(group, open);
  lay();
  moveTo(-1, columns.findIndex(column => column.group === group));
}

function renderRow(at, visible, height) {
  const one = rows[at];
  const name = make("button", { class: "name", role: "rowheader", "data-row": at, "data-column": -1, title: one.name,
    "aria-colindex": 1, tabindex: active.row === at && active.column === -1 ? 0 : -1 }, one.name);
  if (phone.matches) name.append(make("small", {}, ...(one.state >= 0 ? [marked(one.state), " "] : []), summary(one)));
  const row = make("div", { class: "row", role: "row", "aria-rowindex": at + 2 }, name);
  for (const index of visible) {
    const column = columns[index], { state, number } = stateOf(one, column);
    const isActive = active.row === at && active.column === index;
    if (state < 0 && !isActive) continue;
    const what = column.target ? column.target.name : groupTitle(column.group);
    const label = `${one.name}, ${what}: ${state < 0 ? "no access" : STATES[state].text}`;
    const cell = make("button", { class: `cell ${state < 0 ? "" : STATES[state].css}`, role: "gridcell", title: label, "aria-label": label,
      "aria-colindex": index + 2, "data-row": at, "data-column": index, tabindex: isActive ? 0 : -1 }, state < 0 ? "" : STATES[state].mark);
    if (number > 1) cell.append(make("sup", {}, number));
    cell.style.left = `${headWidth + column.x}px`;
    cell.style.width = `${column.width}px`;
    row.append(cell);
  }
  row.style.top = `${headsHeight() + at * height}px`;
  row.style.height = `${height}px`;
  return row;
}

function summary(one) {
  if (!one.cells.size) return "a sandbox and nothing else";
  const roles = [...one.cells.keys()].filter(target => target.account), others = one.cells.size - roles.length;
  const accounts = new Set(roles.map(target => target.account)).size;
  return [roles.length && `${counted(roles.length, "role")} in ${counted(accounts, "account")}`,
    others && counted(others, "secret, key or image", "secrets, keys or images")].filter(Boolean).join(", ");
}

function moveTo(row, column) {
  active = { row: Math.max(phone.matches ? 0 : -1, Math.min(rows.length - 1, row)), column: Math.max(-1, Math.min(columns.length - 1, column)) };
  if (active.row === -1 && active.column === -1) active.column = columns.length ? 0 : -1;
  const scroller = byId("scroller"), height = rowHeight(), top = active.row * height;
  const space = scroller.clientHeight - headsHeight() - height;
  if (active.row >= 0) scroller.scrollTop = Math.min(top, Math.max(top - space, scroller.scrollTop));
  if (active.column >= 0) {
    const { x, width: wide } = columns[active.column], left = scroller.clientWidth - headWidth - wide;
    scroller.scrollLeft = Math.min(x, Math.max(x - left, scroller.scrollLeft));
  }
  render();
  byId("canvas").querySelector(`[data-row="${active.row}"][data-column="${active.column}"]`)?.focus({ preventScroll: true });
}

function onKey(event) {
  const place = event.target.closest("[data-row]");
  if (!place || event.altKey || event.ctrlKey || event.metaKey) return;
  const row = Number(place.dataset.row), column = Number(place.dataset.column);
  const page = Math.max(1, Math.floor((byId("scroller").clientHeight - headsHeight()) / rowHeight()) - 1);
  const moves = {
    ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
    PageUp: [Math.max(0, row - page), column], PageDown: [row + page, column], Home: [row, -1], End: [row, columns.length - 1],
  };
  if (!moves[event.key]) return;
  event.preventDefault();
  moveTo(...moves[event.key]);
}

function onClick(event) {
  const place = event.target.closest("[data-row]");
  if (!place) return;
  const row = Number(place.dataset.row), column = columns[Number(place.dataset.column)];
  active = { row, column: Number(place.dataset.column) };
  if (row >= 0) showPipeline(rows[row], column);
  else if (column.target) showTarget(column.target);
  else fold(column.group, true);
}

function onHover(event) {
  const place = event.target.closest("[data-column]"), column = place && columns[Number(place.dataset.column)];
  byId("band").hidden = !column;
  if (!column) return;
  byId("band").style.left = `${headWidth + column.x}px`;
  byId("band").style.width = `${column.width}px`;
}

// ---- Detail.

function ruleNode(rule, wantedTargets, heading) {
  const shown = use => !wantedTargets || wantedTargets.has(use.target);
  const uses = rule.uses.filter(shown).map(({ target, called }) => useNode(target, called, target.kind));
  uses.push(...rule.via.filter(target => shown({ target })).map(target => useNode(target, "", "via")));
  const hidden = rule.uses.length + rule.via.length - uses.length;
  const node = make("article", { class: "rule" },
    make("h3", {}, ...(rule.uses.length ? [marked(rule.state), " "] : []), heading || rule.name),
    make("ul", { class: "when" }, ...rule.when.map(text => make("li", {}, text))));
  if (rule.excess.length) node.append(make("p", { class: "excess" }, `The guardrails refuse this rule. ${rule.excess.join("; ")}`));
  if (uses.length || !hidden) node.append(make("ul", { class: "uses" }, ...(uses.length ? uses : [make("li", {}, "a sandbox and nothing else")])));
  if (hidden) node.append(make("p", {}, `and ${counted(hidden, "other thing")}`));
  if (rule.notes.length) node.append(make("dl", { class: "notes" },
    ...rule.notes.flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)])));
  return node;
}

function useNode(target, called, kind) {
  const account = target.account && (target.accountName ? `account ${target.accountName}` : `account ${target.account}`);
  const facts = [account, called && `as ${called}`].filter(Boolean).join(", ");
  return make("li", {}, `${kind} `, make("b", {}, target.name), facts ? make("small", {}, facts) : "");
}

function open(title, ...nodes) {
  byId("title").textContent = title;
  byId("content").replaceChildren(...nodes);
  byId("detail").hidden = false;
  byId("detail").scrollTop = 0;
  byId("detail").focus({ preventScroll: true });
  render();
}

function close() {
  byId("detail").hidden = true;
  render();
  (byId("canvas").querySelector('[tabindex="0"][data-row]') || byId("filter")).focus({ preventScroll: true });
}

function showPipeline(one, column) {
  const only = column && new Set(column.target ? [column.target] : column.group.shown);
  const uses = rule => !only || [...rule.uses.map(use => use.target), ...rule.via].some(target => only.has(target));
  const rules = one.rules.filter(uses);
  const where = column && (column.target ? column.target.name : groupTitle(column.group));
  const all = make("button", { class: "more" }, "All rules of this pipeline");
  all.addEventListener("click", () => showPipeline(one));
  open(one.name, make("p", {}, where || one.repositories.join(", ")), ...rules.map(rule => ruleNode(rule, only)),
    ...(rules.length ? [] : [make("p", {}, "no access")]), ...(only ? [all] : []));
}

function showTarget(target) {
  const only = new Set([target]);
  const users = map.pipelines.filter(one => one.cells.has(target));
  const nodes = users.flatMap(one => one.rules
    .filter(rule => rule.uses.some(use => use.target === target) || rule.via.includes(target))
    .map(rule => ruleNode(rule, only, `${one.name}: ${rule.name}`)));
  open(target.name, make("p", {}, `${target.kind} of ${counted(users.length, "pipeline")}`), ...nodes);
}

const legend = () => make("dl", { class: "legend" },
  ...STATES.toReversed().flatMap((one, at) => [make("dt", {}, marked(STATES.length - 1 - at)), make("dd", {}, one.text)]));

const guardrails = () => make("dl", { class: "notes" },
  ...map.guardrails.flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)]));

const broken = () => map.broken.flatMap(([origin, details]) => [make("h3", {}, origin),
  make("ul", { class: "plain" }, ...details.map(text => make("li", {}, text)))]);

const BROKEN = "These documents have mistakes and are not on the map. A host refuses every job of such a pipeline.";

function showLegend() {
  open("Legend", legend(), make("p", {}, "A small number counts the roles behind one mark."),
    make("p", {}, "Choose a mark or a name for its rules, a role for all pipelines that reach it, an account to show or fold its roles. Arrow keys move, Enter opens, Escape closes."));
}

// ---- Print: what the filter shows, in full.

function preparePrint() {
  const filter = byId("filter").value.trim();
  const shown = filter || byId("show").value !== "all"
    ? `Filter: ${[filter && `“${filter}” in ${byId("field").selectedOptions[0].text}`, byId("show").selectedOptions[0].text].filter(Boolean).join(", ")}. `
    : "";
  byId("print").replaceChildren(
    make("h1", {}, "Access map"), make("p", {}, byId("summary").textContent),
    make("p", {}, `${shown}${byId("count").textContent}.`), legend(),
    ...(map.broken.length ? [make("h2", { class: "excess" }, "Documents with mistakes"), make("p", {}, BROKEN), ...broken()] : []),
    ...(map.guardrails ? [make("h2", {}, "Guardrails"), guardrails()] : []),
    ...rows.map(one => make("section", {}, make("h2", {}, one.name), ...one.rules.map(rule => ruleNode(rule, wanted)))));
}

// ---- Start.

function start(raw) {
  map = decoded(raw);
  const roles = map.targets.filter(target => target.account).length;
  byId("summary").textContent = `${counted(map.pipelines.length, "pipeline")}, ${counted(roles, "role")} in ` +
    `${counted(Object.keys(map.accounts).length, "account")}, from ${map.source}, ${map.made}`;
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `500 ${getComputedStyle(document.body).fontSize} ${getComputedStyle(document.body).fontFamily}`;
  const longest = Math.max(0, ...map.pipelines.map(one => pen.measureText(one.name).width));
  headWidth = Math.round(Math.min(320, Math.max(175, longest + 36)));
  document.documentElement.style.setProperty("--head", `${headWidth}px`);
  byId("broken").hidden = !map.broken.length;
  byId("broken").textContent = `${counted(map.broken.length, "document")} with mistakes`;
  byId("guardrails").hidden = !map.guardrails;
  const fromAddress = () => {
    try { byId("filter").value = decodeURIComponent(location.hash.slice(1)); } catch { /* it is no filter */ }
  };
  fromAddress();
  addEventListener("hashchange", () => { fromAddress(); apply(); });
  for (const id of ["filter", "field", "show"]) byId(id).addEventListener("input", apply);
  byId("tools").addEventListener("submit", event => event.preventDefault());
  byId("expand").addEventListener("click", () => {
    everyRole = !everyRole;
    choice.clear();
    active.column = -1;
    byId("expand").setAttribute("aria-pressed", everyRole);
    lay();
  });
  let waiting = false;
  const soon = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; render(); }); } };
  byId("scroller").addEventListener("scroll", soon, { passive: true });
  phone.addEventListener("change", lay);
  addEventListener("resize", soon);
  byId("canvas").addEventListener("click", onClick);
  byId("canvas").addEventListener("keydown", onKey);
  byId("canvas").addEventListener("mouseover", onHover);
  byId("close").addEventListener("click", close);
  byId("help").addEventListener("click", showLegend);
  byId("guardrails").addEventListener("click", () => open("Guardrails", make("p", {}, "No rule may grant more than this."), guardrails()));
  byId("broken").addEventListener("click", () => open("Documents with mistakes", make("p", {}, BROKEN), ...broken()));
  addEventListener("keydown", event => { if (event.key === "Escape" && !byId("detail").hidden) close(); });
  addEventListener("beforeprint", preparePrint);
  addEventListener("afterprint", () => byId("print").replaceChildren());
  apply();
  document.documentElement.dataset.ready = Math.round(performance.now());
}

unpacked().then(start).catch(failed => {
  byId("summary").textContent = `This page cannot be displayed: ${failed.message}. It needs a browser of 2023 or later.`;
});
