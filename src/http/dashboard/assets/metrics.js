// `/api/metrics`, as the panels need it: rates from counts, a past to draw, and what somebody should look at.

import { get } from "./api.js";
import { bytes, millis, number, rate } from "./format.js";

/** So many looks are drawn: ten minutes. */
const DRAWN = 300;
/** Refusals are said to be recent for so long. */
const RECENT_MS = 5 * 60_000;

/** What earlier looks have found, the oldest first. */
const looks = [];
const past = [];

export async function read() {
    const asked = performance.now();
    const form = await get("/api/metrics");
    const look = lookAt(form, performance.now() - asked);
    if (form.requests.since !== looks.at(-1)?.since) looks.length = 0;
    past.push(pointOf(look, looks.at(-1)));
    looks.push(look);
    if (past.length > DRAWN) past.shift();
    while (looks.length > 1 && look.at - looks[1].at >= RECENT_MS) looks.shift();
    const point = past.at(-1);
    return {
        past,
        refusals: refusalsOf(look.refusals, looks[0].refusals),
        turnedAway: turnedAway(look, looks[0], form.inventory.since),
        hottest: form.inventory.hottestSkus.map(({ sku, operations }) => ({ sku, count: operations })),
        machine: machineOf(form),
        figures: [
            ["Items (SKUs)", number(form.inventory.items)],
            ["Items to reorder", number(form.inventory.lowStockItems)],
            ["Open holds", number(form.inventory.openReservations)],
            ["Writes a second", rate(point.writes ?? NaN)],
            ["99 % answered within", form.requests.total ? millis(look.p99) : "–"],
        ],
        ...doubtsOf(form),
    };
}

/** What of the form is compared with earlier looks. Counts begin anew with a restart, and with a reset. */
function lookAt({ timestamp, requests, inventory, health }, trip) {
    const isRead = (route) => route.method === "GET";
    const sum = (routes) => routes.reduce((sum, route) => sum + route.count, 0);
    return {
        at: Date.parse(timestamp),
        since: requests.since,
        reads: sum(requests.routes.filter(isRead)),
        writes: sum(requests.routes.filter((route) => !isRead(route))),
        refusals: requests.refusals,
        oversells: inventory.oversellPrevented,
        p99: health.detailed.p99Micros / 1000,
        isCounting: requests.recording,
        trip,
    };
}

/** A point of the charts; null where nothing is known. */
function pointOf(look, before) {
    const seconds = before ? (look.at - before.at) / 1000 : 0;
    const known = look.isCounting && seconds > 0;
    const perSecond = (name) => (known ? (look[name] - before[name]) / seconds : null);
    const p99 = look.isCounting ? look.p99 : null;
    return { at: look.at, writes: perSecond("writes"), reads: perSecond("reads"), p99, trip: look.trip };
}

/** Writes that wanted what was not there; null where nothing is counted. */
function turnedAway({ at, oversells, isCounting }, first, since) {
    return isCounting ? { total: oversells, since, recent: oversells - first.oversells, withinMs: at - first.at } : null;
}

function refusalsOf(now, before) {
    const rows = Object.entries(now).map(([code, total]) => ({ code, total, recent: total - (before[code] ?? 0) }));
    return rows.sort((a, b) => b.recent - a.recent || b.total - a.total);
}

function machineOf({ concurrency, persistence, background, system, limits, health: { business } }) {
    const micros = (value) => millis(value / 1000);
    const { streams, sales, lostLogLines } = background;
    return [
        ["Drift", number(business.drift)],
        ["Commands waiting", number(concurrency.commandsWaiting)],
        ["Longest queue of a SKU", `${number(concurrency.longestQueue)} of ${number(concurrency.queueLimit)}`],
        ["Syncs to disk, half within", persistence.syncs.count ? micros(persistence.syncs.p50Micros) : "–"],
        ["99 % of them within", persistence.syncs.count ? micros(persistence.syncs.p99Micros) : "–"],
        ["Events in the log", number(persistence.visibleSeq)],
        ["Of them not in “What sells” yet", number(sales.lagEvents)],
        ["Live followers of the log", number(streams.open)],
        ["Lines lost by the service's own log", number(lostLogLines)],
        ["Size of the log", bytes(persistence.logBytes)],
        ["Left on its disk", bytes(persistence.diskFreeBytes ?? NaN)],
        ["Memory", bytes(system.residentBytes ?? NaN)],
        ["Processors busy", `${system.cpuShare.toFixed(2)} of ${system.cores}`],
        ["Connections", `${number(limits.openConnections)} of ${number(limits.settings.maxConnections)}`],
    ];
}

/** The service judges itself; what it says of basics, the heartbeat has told already. */
function doubtsOf({ health: { detailed, business } }) {
    const bad = [detailed, business].filter((part) => part.status !== "ok");
    return {
        doubts: bad.map((part) => part.sentence),
        isFailing: bad.some((part) => part.status === "fail"),
        compared: business.comparisons.reduce((sum, { compared }) => sum + compared, 0),
    };
}
