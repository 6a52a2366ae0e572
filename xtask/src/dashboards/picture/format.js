"use strict";
// Units, colours and names as in Grafana.

const CLASSIC = ["#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#CA95E5", "#FFB357",
  "#C4162A", "#33B5E5", "#96D98D"];
const NAMED = { green: "#73BF69", red: "#F2495C", blue: "#5794F2", yellow: "#EAB839" };

function short(value) {
  const size = Math.abs(value);
  for (const [unit, name] of [[1e9, " Bil"], [1e6, " Mil"], [1e3, " K"]]) {
    if (size >= unit) return trim(value / unit) + name;
  }
  return trim(value);
}

function trim(value) {
  const size = Math.abs(value);
  const digits = size === 0 || size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 3;
  return String(Number(value.toFixed(digits)));
}

function format(value, unit) {
  if (value == null || !Number.isFinite(value)) return "–";
  switch (unit) {
    case "cps": return short(value) + " c/s";
    case "s": return value >= 3600 ? trim(value / 3600) + " h" : value >= 120 ? trim(value / 60) + " min"
      : value > 0 && value < 0.1 ? trim(value * 1000) + " ms" : trim(value) + " s";
    case "percentunit": return trim(value * 100) + "%";
    case "bytes": {
      let step = 0;
      while (Math.abs(value) >= 1024 && step < 4) { value /= 1024; step += 1; }
      return trim(value) + " " + ["B", "KiB", "MiB", "GiB", "TiB"][step];
    }
    default: return short(value);
  }
}

function matches(matcher, name) {
  if (matcher.id === "byName") return matcher.options === name;
  return new RegExp(matcher.options.slice(1, -1)).test(name);
}

/** A property that an override sets for the field of this name. */
function property(panel, name, id) {
  for (const { matcher, properties } of panel.fieldConfig.overrides) {
    const found = matches(matcher, name) && properties.find((it) => it.id === id);
    if (found) return found.value;
  }
  return undefined;
}

function colour(panel, name, index) {
  return property(panel, name, "color")?.fixedColor ?? CLASSIC[index % CLASSIC.length];
}

function threshold(panel, value) {
  const steps = panel.fieldConfig.defaults.thresholds.steps;
  const step = steps.filter((it) => it.value == null || value >= it.value).at(-1);
  return NAMED[step.color] ?? step.color;
}

/** The legend with each `{{label}}` replaced. */
function legend(target, labels) {
  return target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? "");
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text != null) made.textContent = text;
  return made;
}
