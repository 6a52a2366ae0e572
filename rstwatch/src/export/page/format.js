// Formats numbers and times.

/** 12,345 */
export const count = (n) => n.toLocaleString("en");

/** 1 reset, 2 resets */
export const counted = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** 850 ms, 61.2 s, 5 min, 2 h; truncated, never rounded up. */
export function length(seconds) {
  if (seconds < 1) return `${Math.floor(seconds * 1000)} ms`;
  if (seconds < 120) return `${Math.floor(seconds * 10) / 10} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 6) / 10} min`;
  return `${Math.floor(seconds / 360) / 10} h`;
}

/** 12.3 MiB */
export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) [n, unit] = [n / 1024, unit + 1];
  return `${unit === 0 ? n : n.toFixed(1)} ${units[unit]}`;
}

const two = (n) => String(n).padStart(2, "0");

/** 14:07 in the browser's time zone. */
export const minute = (seconds) => clock(new Date(seconds * 1000)).slice(0, 5);

/** 14:07:31 in the browser's time zone. */
export const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;

/** 14:07:31.482, preceded by the date unless it is today. */
export function moment(text) {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return text;
  const time = `${clock(date)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
  const today = new Date().toDateString() === date.toDateString();
  return today ? time : `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}`;
}
