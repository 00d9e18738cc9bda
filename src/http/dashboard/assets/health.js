// The first line: in plain words whether the service is well, and if not, why.

import { get } from "./api.js";
import { $, figures, setText } from "./dom.js";
import { plural, span } from "./format.js";
import * as freshness from "./freshness.js";

const WORDS = { ok: "Healthy.", warn: "Take a look.", broken: "Broken.", waiting: "Asking …" };

/** What the verdict rests on: what the heartbeat, the metrics and the sync have told last. */
const known = { ready: null, metrics: null, sync: null };

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

export function tell(name, value) {
    known[name] = value;
    judge();
}

function judge() {
    const { level, why } = verdict();
    $("health").dataset.level = level;
    setText($("verdict-word"), WORDS[level]);
    setText($("verdict-why"), why.join(" "));
    document.title = level === "ok" || level === "waiting" ? "Holdfast" : `${WORDS[level]} Holdfast`;
    if (known.metrics) figures($("figures"), known.metrics.figures);
}

function verdict() {
    if (freshness.lost()) return { level: "broken", why: ["The service does not answer."] };
    if (!known.ready) return { level: "waiting", why: [] };
    if (known.ready.status !== "ok") {
        return { level: "broken", why: ["No writes are taken:", ...known.ready.reasons.map((reason) => `${reason}.`)] };
    }
    const doubts = [...doubtsOfSync(known.sync), ...(known.metrics?.doubts ?? [])];
    if (doubts.length) return { level: "warn", why: ["Writes are taken, but", `${doubts.join("; ")}.`] };
    const { uptimeSeconds, version } = known.ready;
    const age = uptimeSeconds < 60 ? "for less than a minute" : `for ${span(uptimeSeconds * 1000)}`;
    return { level: "ok", why: [`Writes are taken, and on disk before they are answered. Up ${age}, version ${version}.`] };
}

function doubtsOfSync(sync) {
    if (!sync) return [];
    const doubts = [];
    if (sync.lastError) doubts.push("the last sync failed");
    if (!sync.running) doubts.push("the sync is stopped, so totals are not brought up to date");
    const overdue = sync.overdueStores ?? [];
    const named = overdue.slice(0, 3).map((store) => store.storeId).join(", ");
    if (overdue.length) doubts.push(`${plural(overdue.length, "store")} should have reported by now (${named}${overdue.length > 3 ? ", …" : ""})`);
    if (sync.running && sync.lagMs > Math.max(60_000, 4 * sync.intervalMs)) doubts.push(`the totals are ${span(sync.lagMs)} behind`);
    return doubts;
}
