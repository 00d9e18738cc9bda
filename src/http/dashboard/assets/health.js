// The first line: in plain words whether the service is well, and if not, why.

import { get, now } from "./api.js";
import { $, el, figures, itemUrl, say, setText } from "./dom.js";
import { ago, compact, number, plural, span } from "./format.js";
import * as freshness from "./freshness.js";

const WORDS = { ok: "Healthy.", warn: "Take a look.", broken: "Broken.", waiting: "Asking …" };

/** So many SKUs are named of those that are sold out. */
const NAMED = 3;

/** What the first lines rest on: what the heartbeat, the metrics, the sync and the levels that run out have told last. */
const known = { ready: null, metrics: null, sync: null, totals: null, soldOut: [] };

/** Asks whether writes are taken. Any answer is a sign of life. */
export async function beat() {
    try {
        known.ready = await get("/api/health/ready");
    } catch (error) {
        if (error.status === 0) {
            freshness.missed();
            judge();
            throw error;
        }
        known.ready = { status: "unavailable", reasons: error.problem.reasons ?? [error.message] };
    }
    freshness.seen();
    judge();
}

/** @param told `{metrics}`, `{sync, totals}` or `{soldOut}`: levels with nothing left */
export function tell(told) {
    Object.assign(known, told);
    judge();
}

function judge() {
    const { level, why } = verdict();
    $("health").dataset.level = level;
    setText($("verdict-word"), WORDS[level]);
    setText($("verdict-why"), why.join(" "));
    document.title = level === "ok" || level === "waiting" ? "Holdfast" : `${WORDS[level]} Holdfast`;
    showTurnedAway();
    figures($("figures"), [...sumsOf(known.totals), ...(known.metrics?.figures ?? [])]);
}

/** Whoever is turned away finds the service well, and nothing to buy: so it is said beside the verdict, also a good one. */
function showTurnedAway() {
    const told = known.metrics?.turnedAway;
    $("turned-away").hidden = !told;
    if (!told) return;
    $("turned-away").dataset.level = told.recent ? "warn" : "";
    say($("turned-away"), turnedAway(told));
}

function turnedAway({ recent, withinMs, total, since }) {
    const began = `since counting began ${ago(now() - Date.parse(since))}.`;
    if (!total) return [`Nobody was turned away for want of stock ${began}`];
    const lately = withinMs ? [recent ? [number(recent)] : "none", ` in the last ${span(withinMs)}, `] : [];
    return ["Turned away for want of stock: ", ...lately, `${number(total)} ${began}`, ...(recent ? wanted() : [])];
}

/** No refusal says of which SKU it was, but what of those to be reordered is sold out and asked for most is known. */
function wanted() {
    const storesOf = Map.groupBy(known.soldOut, (level) => level.sku);
    const most = known.metrics.hottest.filter(({ sku }) => storesOf.has(sku)).slice(0, NAMED);
    const named = most.flatMap(({ sku }) => {
        const stores = storesOf.get(sku).map((level) => level.storeId).join(", ");
        return [", ", el("a", { href: itemUrl(sku) }, sku), ` (${stores})`];
    });
    return named.length ? [" Of what is to be reordered, sold out and asked for most: ", ...named.slice(1), "."] : [];
}

function verdict() {
    if (freshness.lost()) return { level: "broken", why: ["The service does not answer."] };
    if (!known.ready) return { level: "waiting", why: [] };
    if (known.ready.status !== "ok") {
        const reasons = known.ready.reasons.map((reason) => `${reason}.`);
        return { level: "broken", why: ["No writes are taken:", ...reasons] };
    }
    const doubts = [...(known.metrics?.doubts ?? []), ...doubtsOfSync(known.sync)];
    const level = known.metrics?.isFailing ? "broken" : "warn";
    if (doubts.length) return { level, why: ["Writes are taken, but:", ...doubts] };
    const { uptimeSeconds, version } = known.ready;
    const age = uptimeSeconds < 60 ? "for less than a minute" : `for ${span(uptimeSeconds * 1000)}`;
    const promise = "Writes are taken, and on disk before they are answered.";
    return { level: "ok", why: [promise, ...proof(known.metrics), `Up ${age}, version ${version}.`] };
}

/** What the service has found of itself, where it was asked. */
function proof(metrics) {
    return metrics?.compared ? ["What is shown is what the log says (drift 0)."] : [];
}

/** How far totals may be behind that are brought up to date so often. */
const tolerated = (intervalMs) => Math.max(60_000, 4 * intervalMs);

/** Each as a sentence. */
function doubtsOfSync(sync) {
    if (!sync) return [];
    const doubts = [];
    if (sync.lastError) doubts.push("The last sync failed.");
    if (!sync.running) doubts.push("The sync is stopped: totals are not brought up to date.");
    else if (sync.lagMs > tolerated(sync.intervalMs)) doubts.push(`The totals are ${span(sync.lagMs)} behind.`);
    const overdue = sync.overdueStores;
    const named = overdue.slice(0, 3).map((store) => store.storeId).join(", ") + (overdue.length > 3 ? ", …" : "");
    if (overdue.length) doubts.push(`${plural(overdue.length, "store")} should have reported by now: ${named}.`);
    return doubts;
}

/** What there is, as of the last sync. Before the first one that is not known, rather than nothing. */
function sumsOf(totals) {
    const isKnown = totals && (totals.seq || !known.sync?.lagEvents);
    const { quantity, reserved, available } = isKnown ? totals.central : {};
    return [
        ["Pieces on hand", compact(quantity)],
        ["Pieces held", compact(reserved)],
        ["Pieces available", compact(available)],
    ];
}
