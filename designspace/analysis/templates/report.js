
// The interactive part of a report: filter, scatter plot, selected network, table, and names at the steps of the EDF.
// Its data is the JSON in #trials, column by column. All texts enter the page as text nodes, never as markup.
(() => {
"use strict";
const data = JSON.parse(document.getElementById("trials").textContent);
const columns = new Map(data.columns.map((column) => [column.key, column]));
const runIndex = new Map(data.runs.map((run, index) => [run.name, index]));
const allTrials = columns.get("id").values.map((_, trial) => trial);
const byId = (id) => document.getElementById(id);
const value = (key, trial) => (columns.has(key) ? columns.get(key).values[trial] : null);
const errorKey = data.metric.key;
const unitOf = (text) => (data.metric.unit === "%" ? `${text}%` : [text, data.metric.unit].filter(Boolean).join(" "));
const withUnit = (name) => [name, data.metric.unit].filter(Boolean).join(", ");
const oriented = (error) => data.metric.sign * error; // lower is better; its own inverse
const isError = (key) => columns.get(key).format === "error";
const failed = (trial) => value("status", trial) === "failed";
const leftOut = new Set(data.leftOut); // trials that failed and do not count
const runOf = (trial) => data.runs[runIndex.get(value("run", trial))];
const state = { shown: allTrials, chosen: null, pointed: null, sortKey: null, ascending: true, first: 0 };
const ROWS = 100; // per page of the table; more would make a browser slow

// --- Elements and texts ---------------------------------------------------------------------------------------------

function fill(element, attributes, children) {
  for (const [name, setting] of Object.entries(attributes)) element.setAttribute(name, setting);
  element.append(...children); // strings become text nodes
  return element;
}
const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function quantity(number) { // three digits and a unit prefix, as in the tables
  for (const [factor, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (number >= 0.9995 * factor) {
      const scaled = number / factor;
      return `${scaled.toFixed(scaled < 9.995 ? 2 : scaled < 99.95 ? 1 : 0)} ${prefix}`;
    }
  }
  return String(+number.toPrecision(3));
}

function duration(seconds) {
  if (seconds < 60) return `${+seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  for (const [unit, size, smaller, part] of [["d", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]]) {
    if (whole >= size) return `${Math.floor(whole / size)} ${unit} ${Math.floor((whole % size) / part)} ${smaller}`;
  }
  return `${whole} s`;
}

const formats = {
  text: (text) => text, error: (number) => number.toFixed(data.metric.digits), whole: String,
  real: (number) => String(+number.toPrecision(5)), quantity, seconds: duration,
};
function shown(key, trial) { // a value as text; empty if there is none
  const number = value(key, trial);
  return number === null ? "" : formats[columns.get(key).format](number);
}
function outcome(trial) {
  if (failed(trial)) return `failed: ${value("reason", trial)}`;
  if (value("status", trial) !== "done") return value("status", trial);
  return `${data.metric.name} ${unitOf(shown(errorKey, trial))}`;
}
const nameOf = (trial) => `${value("run", trial)} ${value("id", trial)}`;

// --- Filter ---------------------------------------------------------------------------------------------------------

const tests = {
  "=": (a, b) => a === b, "!=": (a, b) => a !== b, "~": (a, b) => a.includes(b),
  "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b,
};
tests["=="] = tests["="];
const textKeys = data.columns.filter((column) => column.format === "text").map((column) => column.key);
const texts = allTrials.map((trial) => textKeys.map((key) => value(key, trial)).join("\n").toLowerCase());

function columnOf(name) {
  const lower = name.toLowerCase();
  const column = columns.get(name)
    ?? data.columns.find(({ key, name }) => key.toLowerCase() === lower || name.toLowerCase() === lower);
  if (!column) throw new Error(`There is no column “${name}”; choose from: ${[...columns.keys()].join(", ")}.`);
  return column;
}

function numberOf(text) {
  const parts = /^([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([kMGT%]?)$/i.exec(text);
  return parts && parts[1] * ({ k: 1e3, m: 1e6, g: 1e9, t: 1e12 }[parts[2].toLowerCase()] ?? 1);
}

// Return the conditions of a filter as functions of a trial; throw an Error if the filter is invalid.
function conditions(text) {
  const clauses = [[]];
  for (const [whole, double, single, sign, word] of
    text.matchAll(/"([^"]*)"|'([^']*)'|([<>!=]=|[<>=~])|([^\s<>=~!,&"']+|[!&"'])|,/g)) {
    const quoted = double ?? single;
    if (quoted === undefined && (whole === "," || whole === "&" || /^and$/i.test(whole))) clauses.push([]);
    else clauses.at(-1).push(sign ? { sign } : { text: quoted ?? word });
  }
  return clauses.filter((clause) => clause.length).map(condition);
}

function condition(clause) {
  const signs = clause.filter((part) => part.sign);
  const words = (parts) => parts.map((part) => part.text).join(" ");
  if (!signs.length) {
    const word = words(clause).toLowerCase();
    return (trial) => texts[trial].includes(word);
  }
  if (signs.length > 1) throw new Error("Write one comparison at a time, such as “error > 10 and error < 20”.");
  const middle = clause.indexOf(signs[0]);
  const [name, right, sign] = [words(clause.slice(0, middle)), words(clause.slice(middle + 1)), signs[0].sign];
  if (!name) throw new Error(`A column is missing before “${sign}”.`);
  const column = columnOf(name);
  if (middle === clause.length - 1) throw new Error(`A value is missing after “${name} ${sign}”.`);
  if (column.format === "text") {
    if ("<>".includes(sign[0])) throw new Error(`“${name}” holds texts: use =, != or ~, not ${sign}.`);
    return (trial) => tests[sign](column.values[trial].toLowerCase(), right.toLowerCase());
  }
  const number = numberOf(right);
  if (sign === "~" || number === null) throw new Error(`“${name}” holds numbers: “${sign} ${right}” is invalid.`);
  return (trial) => column.values[trial] !== null && tests[sign](column.values[trial], number);
}

function filter() {
  const input = byId("expression");
  let predicates = [];
  try {
    predicates = conditions(input.value);
    byId("problem").textContent = "";
  } catch (error) { // the figure and the table stay unchanged
    byId("problem").textContent = `${error.message} The filter was not applied.`;
  }
  input.setAttribute("aria-invalid", String(Boolean(byId("problem").textContent)));
  if (byId("problem").textContent) return;
  state.shown = allTrials.filter((trial) => predicates.every((isTrue) => isTrue(trial)));
  sort();
  drawScatter();
}

// --- Tables ---------------------------------------------------------------------------------------------------------

// Turn the headings of a table into buttons that call `order(column, ascending)` to sort.
function sortable(heads, order) {
  heads.forEach((head, index) => {
    const button = html("button", { type: "button" }, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      order(index, ascending);
    });
  });
}

// Compare two values for an ascending or descending order, with blanks last in either order.
function compare(a, b, ascending) {
  const blank = (value) => value === null || value === "";
  if (blank(a) || blank(b)) return blank(a) - blank(b);
  return (a < b ? -1 : a > b ? 1 : 0) * (ascending ? 1 : -1);
}

function cellValue(text) { // the number in a cell such as "5.16 M", "2 min 5 s" or "+1.20"; otherwise its text
  const times = { d: 86400, h: 3600, min: 60, s: 1 };
  const parts = [...text.matchAll(/(\d+) (d|h|min|s)\b/g)];
  if (parts.length) return parts.reduce((sum, [, count, unit]) => sum + count * times[unit], 0);
  return text === "-" ? null : numberOf(text.trim()) ?? text;
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  sortable([...table.tHead.rows[0].cells], (index, ascending) => {
    const rows = [...body.rows].map((row) => [cellValue(row.cells[index].textContent), row]);
    const hasTexts = rows.some(([value]) => typeof value === "string"); // then all cells are compared as texts
    const key = ([value, row]) => (hasTexts && value !== null ? row.cells[index].textContent : value);
    body.append(...rows.sort((a, b) => compare(key(a), key(b), ascending)).map(([, row]) => row));
  });
}

const keys = [...columns.keys()];
const headRow = html("tr", {}, ...keys.map((key) => {
  const { help, format } = columns.get(key);
  return html("th", { scope: "col", class: format === "text" ? "text" : "number", title: help },
    format === "error" ? withUnit(key) : key);
}));
byId("trials-table").tHead.append(headRow);
sortable([...headRow.cells], (index, ascending) => {
  Object.assign(state, { sortKey: keys[index], ascending });
  sort();
});

function sort() {
  const { sortKey, ascending } = state;
  state.rows = sortKey === null ? state.shown
    : [...state.shown].sort((a, b) => compare(value(sortKey, a), value(sortKey, b), ascending) || a - b);
  fillTable(0);
}

function fillTable(first) {
  state.first = first;
  const rows = state.rows.slice(first, first + ROWS).map((trial) => {
    const row = html("tr", { "data-trial": trial }, ...keys.map((key) => {
      const text = shown(key, trial);
      if (key === "id") return html("td", { class: "text" }, html("button", { type: "button", class: "id" }, text));
      const kind = columns.get(key).format === "text" ? (text.length > 40 ? "text long" : "text") : "number";
      return html("td", { class: kind }, text);
    }));
    row.classList.toggle("chosen", trial === state.chosen);
    return row;
  });
  byId("trials-table").tBodies[0].replaceChildren(...rows);
  const [total, matches] = [allTrials.length, state.rows.length];
  const range = matches > ROWS ? `; the table shows ${first + 1} to ${first + rows.length}` : "";
  const summary = matches === total ? `All ${total} trials` : `${matches} of ${total} trials match the filter`;
  byId("count").textContent = `${summary}${range}.`;
  byId("pages").hidden = matches <= ROWS;
  byId("back").disabled = !first;
  byId("next").disabled = first + ROWS >= matches;
  byId("pages").querySelector("span").textContent = `${first + 1} to ${first + rows.length} of ${matches}`;
}

// --- Charts ---------------------------------------------------------------------------------------------------------

function linear(low, high, from, to) {
  if (low === high) [low, high] = [low - (Math.abs(low) * 0.1 || 1), high + (Math.abs(high) * 0.1 || 1)];
  const count = Math.max(4, Math.abs(to - from) / 70); // number of ticks, about 70 pixels apart
  const power = 10 ** Math.floor(Math.log10((high - low) / count));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= (high - low) / count);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k += 1) ticks.push(+(k * step).toPrecision(12));
  return { low, high, ticks, at: (number) => from + ((number - low) / (high - low)) * (to - from) };
}

function logarithmic(low, high, from, to) {
  const inner = linear(Math.log(low), Math.log(high), from, to);
  const factors = high / low > 300 ? [1] : high / low > 30 ? [1, 3] : [1, 2, 5];
  const powers = Array.from({ length: 40 }, (_, power) => 10 ** (power - 20));
  const ticks = powers.flatMap((power) => factors.map((factor) => factor * power));
  return { ticks: ticks.filter((tick) => tick >= low && tick <= high), at: (number) => inner.at(Math.log(number)) };
}

// Draw grid, ticks and names of the axes. `box` holds the ends of the axes in pixels.
function frame(chart, box, x, y, xName, yName) {
  const label = (number) => (number >= 1000 ? quantity(number) : String(number));
  for (const tick of x.ticks) {
    chart.append(svg("line", { class: "grid", x1: x.at(tick), x2: x.at(tick), y1: box.top, y2: box.bottom }),
      svg("text", { x: x.at(tick), y: box.bottom + 16, "text-anchor": "middle" }, label(tick)));
  }
  for (const tick of y.ticks) {
    chart.append(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y.at(tick), y2: y.at(tick) }),
      svg("text", { x: box.left - 6, y: y.at(tick) + 4, "text-anchor": "end" }, label(tick)));
  }
  const middle = (box.top + box.bottom) / 2;
  chart.append(svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    svg("text", { x: (box.left + box.right) / 2, y: box.bottom + 34, "text-anchor": "middle" }, xName),
    svg("text", { x: 12, y: middle, transform: `rotate(-90 12 ${middle})`, "text-anchor": "middle" }, yName));
}

const paths = { o: "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z", s: "M-4 -4H4V4H-4Z", "^": "M0 -5L5 4H-5Z",
  D: "M0 -5.5L5.5 0L0 5.5L-5.5 0Z", v: "M0 5L5 -4H-5Z" };
const cross = "M-4 -4L4 4M4 -4L-4 4"; // for failed trials
const markerOf = (run, attributes = {}) =>
  svg("path", { class: "point", d: paths[run.marker], fill: run.colour, ...attributes });

function showTip(plot, lines, left, top) {
  const tip = plot.querySelector(".tip") ?? plot.appendChild(html("div", { class: "tip" }));
  tip.replaceChildren(...lines.map((line) => html("div", {}, line)));
  tip.hidden = false;
  tip.style.left = `${Math.max(0, Math.min(left + 12, plot.clientWidth - tip.offsetWidth))}px`;
  tip.style.top = `${top > tip.offsetHeight + 14 ? top - tip.offsetHeight - 12 : top + 14}px`;
}
function hideTip(plot) {
  const tip = plot.querySelector(".tip");
  if (tip) tip.hidden = true;
}

// --- Scatter plot ---------------------------------------------------------------------------------------------------

let points = []; // {trial, x, y} in pixels, from left to right
let overlay = null; // rings around the selected network and the one under the pointer

const isFinished = (trial) => ["done", "failed"].includes(value("status", trial));
const heightOf = (yKey, trial) => (isError(yKey) && failed(trial) ? oriented(data.chance) : value(yKey, trial));
const drawable = (xKey, yKey) => (trial) =>
  isFinished(trial) && value(xKey, trial) !== null && heightOf(yKey, trial) !== null;

function ends(numbers) {
  if (!numbers.length) return [0, 1];
  return numbers.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

// Return the scales of the figure. They are those of all trials, whatever the filter shows. Failed trials and errors far
// above the others are in a strip above the axis.
function scales(xKey, yKey, width) {
  const known = allTrials.filter(drawable(xKey, yKey));
  const xs = known.map((trial) => value(xKey, trial));
  const [low, high] = ends(xs);
  let [least, most] = ends(known.map((trial) => heightOf(yKey, trial)));
  if (isError(yKey) && data.metric.sign > 0) [least, most] = [Math.min(least, data.limits[0]), data.limits[1]];
  const above = (trial) => isError(yKey) && (failed(trial) || heightOf(yKey, trial) > most);
  const strip = known.some(above);
  const box = { left: 52, right: width - 12, top: strip ? 40 : 10, bottom: width < 480 ? 300 : 460 };
  const log = low > 0 && high / low >= 20;
  const x = (log ? logarithmic : linear)(low, high, box.left + 16, box.right - 16);
  const y = linear(least, most, box.bottom - 8, box.top + 8);
  const distinct = [...new Set(xs)].sort((a, b) => a - b);
  if (distinct.length <= 8) x.ticks = distinct;
  const equal = distinct.length <= 20 && distinct.length < 0.7 * xs.length;
  const spread = equal ? Math.min(12, (box.right - box.left) / distinct.length / 4) : 0;
  return { box, x, y, log, most, above, strip, spread };
}

function drawScatter() {
  const plot = byId("scatter");
  if (!plot.clientWidth) return; // hidden, as in print
  const focused = plot.contains(document.activeElement);
  const [xKey, yKey] = [byId("axis-x").value, byId("axis-y").value];
  const { box, x, y, log, most, above, strip, spread } = scales(xKey, yKey, plot.clientWidth);
  const drawn = state.shown.filter(drawable(xKey, yKey));
  const label = `${yKey} against ${xKey}, ${drawn.length} networks. Arrow keys move between networks, Enter shows one.`;
  const chart = svg("svg", { class: "chart", width: plot.clientWidth, height: box.bottom + 42, tabindex: 0,
    role: "application", "aria-label": label });
  frame(chart, box, x, y, xKey + (log ? " (log scale)" : ""), isError(yKey) ? withUnit(yKey) : yKey);
  if (strip) {
    chart.append(svg("rect", { class: "strip", x: box.left, y: 6, width: box.right - box.left, height: 28 }),
      svg("text", { x: box.left - 6, y: 24, "text-anchor": "end" },
        data.metric.sign > 0 ? `> ${+most.toPrecision(2)}` : ""));
  }
  points = drawn.map((trial) => { // equal values are spread sideways, each always by the same amount
    const offset = spread * (((trial * 0.618034) % 1) * 2 - 1);
    return { trial, x: x.at(value(xKey, trial)) + offset, y: above(trial) ? 20 : y.at(heightOf(yKey, trial)) };
  }).sort((a, b) => a.x - b.x || a.trial - b.trial);
  for (const { trial, ...point } of points) {
    const position = { transform: `translate(${point.x.toFixed(1)} ${point.y.toFixed(1)})`, "data-trial": trial };
    chart.append(failed(trial) ? svg("path", { class: "failed", d: cross, stroke: runOf(trial).colour, ...position })
      : markerOf(runOf(trial), position));
  }
  overlay = chart.appendChild(svg("g"));
  plot.replaceChildren(chart);
  if (focused) chart.focus();
  const missing = state.shown.length - drawn.length;
  byId("scatter-note").textContent = [
    strip ? `Grey strip: failed trials (×, at chance level, ${unitOf(oriented(data.chance))})` +
      (data.metric.sign > 0 ? ` and errors above ${unitOf(most.toFixed(1))}.` : ".") : "",
    spread ? `Networks with equal ${xKey} are spread slightly sideways.` : "",
    missing ? `Not drawn: ${missing} of ${state.shown.length}, unfinished or without ${xKey} or ${yKey}.` : "",
  ].filter(Boolean).join(" ");
  mark();
}

function mark() { // draw rings around the selected network and the one under the pointer
  if (!overlay) return;
  const ring = (trial, name) => points.filter((point) => point.trial === trial)
    .map((point) => svg("circle", { class: name, cx: point.x, cy: point.y, r: 9 }));
  overlay.replaceChildren(...ring(state.chosen, "ring"), ...ring(state.pointed, "pointer"));
}

function point(trial) { // show the name of a network, or of none
  const pointed = points.find((candidate) => candidate.trial === trial);
  state.pointed = pointed ? trial : null;
  mark();
  if (!pointed) return hideTip(byId("scatter"));
  const key = byId("axis-x").value;
  showTip(byId("scatter"), [nameOf(trial), outcome(trial), `${key} ${shown(key, trial)}`], pointed.x, pointed.y);
}

function nearest(event, reach) { // the network nearest to the pointer, if it is within reach
  const chart = byId("scatter").querySelector("svg").getBoundingClientRect();
  let best = null, least = reach;
  for (const { trial, x, y } of points) {
    const distance = Math.hypot(x - event.clientX + chart.left, y - event.clientY + chart.top);
    if (distance < least) [best, least] = [trial, distance];
  }
  return best;
}

byId("scatter").addEventListener("pointermove", (event) => point(nearest(event, 22)));
byId("scatter").addEventListener("pointerleave", () => point(null));
byId("scatter").addEventListener("focusout", () => point(null));
byId("scatter").addEventListener("click", (event) => {
  const trial = nearest(event, 30);
  if (trial !== null) choose(trial);
});
byId("scatter").addEventListener("keydown", (event) => {
  const current = points.findIndex(({ trial }) => trial === (state.pointed ?? state.chosen));
  const [next, previous] = [current + 1, current - 1];
  const steps = { ArrowRight: next, ArrowUp: next, ArrowLeft: previous, ArrowDown: previous, Home: 0, End: Infinity };
  const target = steps[event.key];
  if (target !== undefined && points.length) point(points[Math.max(0, Math.min(target, points.length - 1))].trial);
  else if ((event.key === "Enter" || event.key === " ") && state.pointed !== null) choose(state.pointed);
  else if (event.key === "Escape") point(null);
  else return;
  event.preventDefault();
});

// --- One network ----------------------------------------------------------------------------------------------------

function choose(trial) {
  state.chosen = trial;
  for (const row of byId("trials-table").tBodies[0].rows) {
    row.classList.toggle("chosen", Number(row.dataset.trial) === trial);
  }
  mark();
  const stages = data.stages.filter((stage) => value(`d${stage}`, trial) > 0);
  const shownElsewhere = /^([dwbg]\d+|run|id|reason|detail)$/;
  const facts = keys.filter((key) => !shownElsewhere.test(key) && shown(key, trial) !== "");
  const reason = [value("reason", trial), value("detail", trial)].filter(Boolean).join(": ");
  byId("network").replaceChildren(
    html("h3", {}, nameOf(trial)),
    ...(failed(trial) ? [html("p", { class: "failed" }, `Failed: ${reason}`)] : []),
    html("h4", {}, "Width of each block", value("w_0", trial) === null ? "" : " (dashed: w_0 + w_a j, unquantised)"),
    staircase(trial, stages), stageTable(trial, stages),
    html("h4", {}, "Learning curve"), curve(data.histories[trial]),
    html("dl", {}, ...facts.map((key) => html("div", { title: columns.get(key).help }, html("dt", {}, key),
      html("dd", {}, isError(key) ? unitOf(shown(key, trial)) : shown(key, trial))))),
  );
}

function stageTable(trial, stages) {
  const names = { d: "depth d", w: "width w", b: "bottleneck ratio b", g: "group width g" };
  const row = (letter) => html("tr", {}, html("th", { scope: "row", class: "text" }, names[letter]),
    ...stages.map((stage) => html("td", {}, shown(`${letter}${stage}`, trial))));
  const numbers = stages.map((stage) => html("th", { scope: "col" }, String(stage)));
  const head = html("thead", {}, html("tr", {}, html("th", { class: "text" }, "stage"), ...numbers));
  return html("div", { class: "scroll" }, html("table", {}, head, html("tbody", {}, ...[..."dwbg"].map(row))));
}

// Draw a bar for each block, whose height is the block's width, in light and dark for alternate stages. A RegNet has a
// dashed line: the widths before quantisation ("Designing Network Design Spaces", equation 2).
function staircase(trial, stages) {
  const size = (stage) => [value(`d${stage}`, trial), value(`w${stage}`, trial)]; // depth, width
  const blocks = stages.flatMap((stage) => Array(size(stage)[0]).fill({ stage, width: size(stage)[1] }));
  const words = stages.map((stage) => size(stage).join(" of width ")).join(", ");
  const box = { left: 52, right: 350, top: 18, bottom: 150 };
  const chart = svg("svg", { class: "chart staircase", viewBox: "0 0 360 190", role: "img",
    "aria-label": `Blocks: ${words}` });
  const x = linear(0.5, blocks.length + 0.5, box.left, box.right);
  const initial = value("w_0", trial), slope = value("w_a", trial);
  const ideal = initial === null ? [] : blocks.map((_, j) => initial + slope * j);
  const y = linear(0, Math.max(...ideal, ...blocks.map((block) => block.width)), box.bottom, box.top);
  x.ticks = x.ticks.filter((tick) => Number.isInteger(tick) && tick > 0);
  frame(chart, box, x, y, "block", "width, channels");
  blocks.forEach(({ stage, width }, block) => chart.append(svg("rect", { class: stage % 2 ? "bar" : "bar odd",
    x: x.at(block + 0.5), y: y.at(width), width: x.at(1) - x.at(0), height: box.bottom - y.at(width) })));
  const corners = ideal.map((width, j) => `${x.at(j + 1)},${y.at(width)}`);
  chart.append(svg("polyline", { class: "ideal", points: corners.join(" ") }));
  let before = 0;
  for (const stage of stages) {
    const [depth, width] = size(stage);
    const middle = { x: x.at(before + (depth + 1) / 2), y: y.at(width) - 4, "text-anchor": "middle" };
    if (x.at(depth) - x.at(0) > 22) chart.append(svg("text", middle, String(width))); // otherwise there is no space
    before += depth;
  }
  return chart;
}

// Draw the errors over the epochs: test errors solid with dots, training errors dashed.
function curve(history) {
  if (!history) return html("p", { class: "small" }, "No epochs are recorded for this network.");
  const [epochs, test, train] = history;
  const box = { left: 52, right: 350, top: 24, bottom: 150 };
  const chart = svg("svg", { class: "chart curve", viewBox: "0 0 360 190", role: "img",
    "aria-label": `Test ${withUnit(`${data.metric.name} after each epoch`).replace("%", "percent")}: ${test.join(", ")}` });
  const x = linear(Math.min(...epochs) - 0.3, Math.max(...epochs) + 0.3, box.left, box.right);
  x.ticks = x.ticks.filter(Number.isInteger);
  const y = linear(Math.min(0, ...test), Math.max(...test, ...train), box.bottom, box.top);
  frame(chart, box, x, y, "epoch", withUnit(data.metric.name));
  const line = (errors) => errors.map((error, i) => [error, i]).filter(([error]) => error !== null)
    .map(([error, i]) => `${x.at(epochs[i]).toFixed(1)},${y.at(error).toFixed(1)}`).join(" ");
  const [solid, dashed] = [{ class: "test" }, { class: "train" }];
  chart.append(svg("polyline", { points: line(train), ...dashed }), svg("polyline", { points: line(test), ...solid }),
    svg("line", { x1: 180, x2: 206, y1: 9, y2: 9, ...solid }), svg("text", { x: 211, y: 13 }, "test"),
    svg("line", { x1: 258, x2: 284, y1: 9, y2: 9, ...dashed }), svg("text", { x: 289, y: 13 }, "training"));
  test.forEach((error, i) => {
    if (error !== null) chart.append(svg("circle", { class: "epoch", cx: x.at(epochs[i]), cy: y.at(error), r: 3 }));
  });
  return chart;
}

// --- Names at the steps of the EDF ----------------------------------------------------------------------------------

function nameSteps(plot, area) {
  const picture = plot.querySelector("svg"), view = picture.viewBox.baseVal;
  const counts = (trial) => value("status", trial) === "done" || (failed(trial) && !leftOut.has(trial));
  const step = (trial) => ({ trial, error: failed(trial) ? data.chance : oriented(value(errorKey, trial)) });
  const curves = data.runs.map((run) => ({ name: run.name, steps: allTrials
    .filter((trial) => value("run", trial) === run.name && counts(trial)).map(step) })).filter(({ steps }) => steps.length);
  const cursor = picture.appendChild(svg("line", { class: "cursor", visibility: "hidden",
    y1: area.top * view.height, y2: area.bottom * view.height }));

  // Return what is under the pointer: an error, how many networks of each run are as good, and the nearest step.
  function find(event) {
    const size = picture.getBoundingClientRect();
    const [left, top] = [event.clientX - size.left, event.clientY - size.top];
    const right = (left / size.width - area.left) / (area.right - area.left);
    const up = (area.bottom - top / size.height) / (area.bottom - area.top);
    if (right < 0 || right > 1 || up < 0 || up > 1 || !curves.length) return null;
    const error = area.low + right * (area.high - area.low), part = area.least + up * (area.most - area.least);
    const best = curves.map(({ steps }) => steps.filter((step) => step.error <= error).length);
    const off = curves.map(({ steps }, i) => Math.abs(best[i] / steps.length - part));
    const { steps } = curves[off.indexOf(Math.min(...off))];
    const near = steps.reduce((a, b) => (Math.abs(b.error - error) < Math.abs(a.error - error) ? b : a));
    const parts = curves.map(({ name, steps: all }, i) =>
      `${name}: ${((100 * best[i]) / all.length).toFixed(1)}% (${best[i]} of ${all.length})`);
    const reached = unitOf(oriented(error).toFixed(data.metric.digits));
    const texts = [`${data.metric.name} ${data.metric.reaches} ${reached}`, ...parts,
      `nearest: ${nameOf(near.trial)}, ${outcome(near.trial)}`];
    return { left, top, texts, trial: near.trial, x: (left / size.width) * view.width };
  }

  plot.addEventListener("pointermove", (event) => {
    const target = find(event);
    cursor.setAttribute("visibility", target ? "visible" : "hidden");
    if (!target) return hideTip(plot);
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, target.x);
    showTip(plot, target.texts, target.left, target.top);
  });
  plot.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    hideTip(plot);
  });
  plot.addEventListener("click", (event) => {
    const target = find(event);
    if (!target) return;
    choose(target.trial);
    byId("network").scrollIntoView({ block: "center" });
  });
}

// --- Start ----------------------------------------------------------------------------------------------------------

function begin() {
  byId("explore").hidden = false;
  for (const axis of ["x", "y"]) {
    const varied = (values) => new Set(values.filter((value) => value !== null)).size > 1;
    const choices = data.columns.filter(({ key, axis: own, values }) =>
      own === axis && (key === "flops" || key === errorKey || varied(values)));
    byId(`axis-${axis}`).append(...choices.map((column) => html("option", { title: column.help }, column.key)));
    byId(`axis-${axis}`).addEventListener("change", drawScatter);
  }
  const small = { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" };
  byId("legend").append(...data.runs.map((run) =>
    html("li", {}, svg("svg", small, markerOf(run)), `${run.name}: ${run.progress}`)));
  byId("columns").append(...data.columns.map(({ key, help }) => html("div", {}, html("dt", {}, key), html("dd", {}, help))));
  let timer;
  byId("expression").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(filter, 250);
  });
  byId("filter").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    filter();
  });
  byId("clear").addEventListener("click", () => {
    byId("expression").value = "";
    filter();
  });
  byId("trials-table").addEventListener("click", (event) => {
    const row = event.target.closest("tbody tr");
    if (!row) return;
    choose(Number(row.dataset.trial));
    byId("network").scrollIntoView({ block: "nearest" });
  });
  byId("back").addEventListener("click", () => fillTable(state.first - ROWS));
  byId("next").addEventListener("click", () => fillTable(state.first + ROWS));
  sort();
  const done = allTrials.filter((trial) => value("status", trial) === "done");
  const best = done.sort((a, b) => oriented(value(errorKey, a)) - oriented(value(errorKey, b)));
  choose(best[0] ?? allTrials[0]);
  let width = 0;
  new ResizeObserver(() => { // is also called at the start
    if (byId("scatter").clientWidth !== width) drawScatter();
    width = byId("scatter").clientWidth;
  }).observe(byId("scatter"));
  nameSteps(byId("plot-edf"), data.edf);
  const details = [...document.querySelectorAll("main details:not(#filter-help)")];
  addEventListener("beforeprint", () => details.forEach((part) => { part.dataset.was = part.open; part.open = true; }));
  addEventListener("afterprint", () => details.forEach((part) => { part.open = part.dataset.was === "true"; }));
}

begin();
})();
