// The page: who is signed in, which view is shown, and what keeps it up to date.

import { get, post } from "./api.js";
import { $, setText, tick } from "./dom.js";
import * as freshness from "./freshness.js";
import * as health from "./health.js";
import { panel as held } from "./held.js";
import { panel as imports } from "./imports.js";
import * as item from "./item.js";
import * as machine from "./machine.js";
import { read } from "./metrics.js";
import { panel as movements } from "./movements.js";
import { Poller } from "./poll.js";
import { panel as runsOut } from "./runs-out.js";
import * as search from "./search.js";
import { panel as sells } from "./sells.js";
import * as session from "./session.js";
import * as stores from "./stores.js";
import { follow } from "./stream.js";
import * as traffic from "./traffic.js";

const HEARTBEAT_MS = 2_000;
const METRICS_MS = 2_000;

const METRICS = [...traffic.CARDS, machine.CARD];
const PANELS = [sells, runsOut, held, movements, stores.panel, imports];
/** Shown as soon as they have something to show. */
const CARDS = [...METRICS, ...PANELS.map((panel) => panel.card)];

/** What runs while the board is shown. */
let heartbeat = null;
let running = null;

function start() {
    if (running) return;
    CARDS.forEach((card) => (card.hidden = true));
    heartbeat ??= new Poller(HEARTBEAT_MS, health.beat);
    const useful = PANELS.filter((panel) => session.may(panel.role ?? "viewer"));
    const pollers = new Map(useful.map((panel) => [panel, polled(panel)]));
    const stream = new AbortController();
    running = { pollers, stream, metrics: session.seesAll() ? metricsPoller() : null };
    follow(stream.signal, tell, showPulse);
    show();
}

function stop() {
    if (!running) return;
    running.pollers.forEach((poller) => poller.stop());
    running.metrics?.stop();
    running.stream.abort();
    running = null;
    item.close();
}

function polled(panel) {
    const report = freshness.reporting(panel.card, 2 * panel.everyMs);
    const poller = new Poller(panel.everyMs, () => panel.look(poller), { ...report, settleMs: panel.settleMs });
    return poller;
}

/** One look fills several cards. */
function metricsPoller() {
    const reports = METRICS.map((card) => freshness.reporting(card, 3 * METRICS_MS));
    const look = async () => {
        const figures = await read();
        traffic.show(figures);
        machine.show(figures);
        health.tell({ metrics: figures });
    };
    return new Poller(METRICS_MS, look, {
        onSuccess: () => reports.forEach((report) => report.onSuccess()),
        onFailure: (error) => reports.forEach((report) => report.onFailure(error)),
    });
}

/** @param events what has come by the stream; null: it may have been anything */
function tell(events) {
    if (!running) return;
    if (!$("board").hidden) tellPanels(events);
    item.tell(events);
}

function tellPanels(events) {
    running.pollers.forEach((poller, panel) => {
        if (events === null || events.some(panel.concerns)) poller.nudge();
    });
}

const PULSES = { live: "live", lost: "reconnecting", absent: "polling", waiting: "connecting" };

function showPulse(state) {
    $("pulse").dataset.state = state;
    setText($("pulse"), PULSES[state]);
}

/** A hidden page follows nothing; shown again, it goes on. */
function onVisibility() {
    if (!running) return;
    running.stream.abort();
    if (document.hidden) return;
    running.stream = new AbortController();
    follow(running.stream.signal, tell, showPulse);
}

/** The view that the address names: `#/item/SKU`, or the overview. */
function route() {
    const [, encoded] = /^#\/item\/(.+)$/.exec(location.hash) ?? [];
    try {
        return encoded && decodeURIComponent(encoded);
    } catch {
        return undefined;
    }
}

function show({ andFocus = false } = {}) {
    const sku = route();
    const isIn = running !== null;
    $("sign-in").hidden = isIn;
    $("board").hidden = !isIn || sku !== undefined;
    $("item").hidden = !isIn || sku === undefined;
    item.close();
    if (isIn && sku !== undefined) item.open(sku);
    else running?.pollers.forEach((poller) => poller.hurry());
    if (andFocus) (sku === undefined ? $("main") : $("item-title")).focus();
    showUser();
}

function showUser() {
    const user = session.user();
    $("user").hidden = $("sign-out").hidden = user === null;
    if (!user) return;
    const stores = user.stores ? ` in ${user.stores.join(", ")}` : "";
    setText($("user"), `${user.username}, ${user.role}${stores}`);
}

/** Nobody is signed in any more, or was not yet. What was shown was for whoever was: the page forgets it. */
function askWhoItIs() {
    const wasIn = session.token() !== null;
    session.end();
    if (wasIn) return location.reload();
    stop();
    show();
    $("username").focus();
}

/** Whoever must sign in sees nothing before that, not even an empty board. */
async function boot() {
    try {
        await get("/api/stores?limit=1");
    } catch (error) {
        if (error.status === 401) return;
    }
    start();
}

async function signIn(event) {
    event.preventDefault();
    setText($("login-error"), "");
    const [username, password] = [$("username").value, $("password").value];
    try {
        session.begin(await post("/api/auth/login", { username, password }));
    } catch (error) {
        const text = error.status === 401 ? "There is no such user with this password." : error.message;
        setText($("login-error"), text);
        $("password").select();
        $("password").focus();
        return;
    }
    $("login").reset();
    start();
    $("main").focus();
}

$("login").addEventListener("submit", signIn);
$("sign-out").addEventListener("click", askWhoItIs);
document.addEventListener("unauthenticated", askWhoItIs);
document.addEventListener("visibilitychange", onVisibility);
addEventListener("hashchange", () => {
    // The skip link is no view.
    if (location.hash !== "#main") show({ andFocus: true });
});
search.listen();
stores.listen(() => running.pollers.get(stores.panel));
setInterval(() => {
    tick();
    freshness.refresh();
}, 1_000);
boot();
