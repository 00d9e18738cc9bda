// The first line: in plain words whether the service is well, and if not, why.

import { get } from "./api.js";
import { $, figures, setText } from "./dom.js";
import { compact, plural, span } from "./format.js";
import * as freshness from "./freshness.js";

const WORDS = { ok: "Healthy.", warn: "Take a look.", broken: "Broken.", waiting: "Asking …" };

/** What the verdict rests on: what the heartbeat, the metrics and the sync have told last. */
const known = { ready: null, metrics: null, sync: null, totals: null };

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

/** @param told `{metrics}` or `{sync, totals}` */
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
    figures($("figures"), [...sumsOf(known.totals), ...(known.metrics?.figures ?? [])]);
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
    if (!totals) return [];
    const { quantity, reserved, available } = totals.seq || !known.sync?.lagEvents ? totals.central : {};
    return [
        ["Pieces on hand", compact(quantity)],
        ["Pieces held", compact(reserved)],
        ["Pieces available", compact(available)],
    ];
}
