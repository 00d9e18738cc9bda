// Numbers, times and words as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const fine = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });

export const number = (value) => (Number.isFinite(value) ? whole.format(value) : "–");
export const compact = (value) =>
    !Number.isFinite(value) ? "–" : Math.abs(value) < 100_000 ? whole.format(value) : short.format(value);
export const signed = (value) => (value > 0 ? `+${whole.format(value)}` : whole.format(value).replace("-", "−"));
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** A rate by the second. */
export function rate(value) {
    if (!Number.isFinite(value)) return "–";
    return value !== 0 && value < 10 ? fine.format(value) : whole.format(value);
}

export function millis(value) {
    if (!Number.isFinite(value)) return "–";
    if (value >= 1000) return `${fine.format(value / 1000)} s`;
    return value >= 10 ? `${whole.format(value)} ms` : `${fine.format(value)} ms`;
}

export function bytes(value) {
    if (!Number.isFinite(value)) return "–";
    const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    const power = value < 1 ? 0 : Math.min(Math.floor(Math.log2(value) / 10), 4);
    const scaled = value / 1024 ** power;
    return `${scaled < 10 && power ? scaled.toFixed(1) : whole.format(scaled)} ${units[power]}`;
}

/** So long, in at most two units. */
export function span(ms) {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    const [days, hours] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24];
    const minutes = Math.floor(seconds / 60) % 60;
    if (days) return hours && days < 10 ? `${days} d ${hours} h` : `${days} d`;
    if (hours) return `${hours} h ${minutes} min`;
    return minutes ? `${minutes} min` : `${seconds} s`;
}

export const ago = (ms) => (ms < 1000 ? "just now" : `${span(ms)} ago`);

/** To a deadline, with seconds while they matter. */
export function left(ms) {
    if (ms <= 0) return "over";
    const seconds = Math.ceil(ms / 1000);
    if (seconds < 60) return `${seconds} s`;
    return seconds < 3600 ? `${Math.floor(seconds / 60)} min ${seconds % 60} s` : span(ms);
}

/** `MANUAL_REMOVE` as `manual remove`. */
export const words = (code) => String(code).toLowerCase().replaceAll("_", " ");
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
