// Lines over time, by uPlot, in the colours of the theme. Each chart says in words what it shows.

import uPlot from "./uplot.js";
import { el, setText } from "./dom.js";

const FONT = "12px system-ui, sans-serif";
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

const charts = new Set();
document.addEventListener("theme", () => charts.forEach((chart) => chart.redraw()));

export class Chart {
    #plot = null;
    #data = null;
    #resized = new ResizeObserver(() => this.#plot?.setSize(this.#size()));

    /**
     * @param section holds a paragraph `.key` and the element `.chart`
     * @param names of the lines, two at most
     * @param format of a value
     * @param isStepped whether a value holds until the next one
     */
    constructor(section, names, format, isStepped = false) {
        this.holder = section.querySelector(".chart");
        this.title = section.querySelector("h2").textContent;
        Object.assign(this, { names, format, isStepped });
        this.key = names.map((name, index) => ({
            line: el("i", { className: `series-${index + 1}` }),
            value: el("strong"),
            name: `${name} `,
        }));
        const entries = this.key.map(({ line, name, value }) => el("span", {}, line, name, value));
        section.querySelector(".key").replaceChildren(...entries);
        this.colours = ["axis-colour", "line-colour"].map((className) => el("i", { className, hidden: true }));
        section.append(...this.colours);
        this.#resized.observe(this.holder);
        charts.add(this);
    }

    /** @param data the moments in seconds, then the values of each line; null where there is none */
    show(data) {
        this.#data = data;
        if (this.#plot) this.#plot.setData(data);
        else this.#draw();
        this.#tell(data[0].length - 1);
        this.holder.setAttribute("aria-label", this.#inWords());
    }

    redraw() {
        if (this.#data) this.#draw();
    }

    #draw() {
        this.#plot?.destroy();
        this.#plot = new uPlot(this.#options(), this.#data, this.holder);
    }

    #size() {
        return { width: Math.max(this.holder.clientWidth, 50), height: this.holder.clientHeight };
    }

    #options() {
        const [text, line] = this.colours.map((element) => getComputedStyle(element).color);
        const axis = { stroke: text, font: FONT, grid: { stroke: line, width: 1 }, ticks: { show: false } };
        const lines = this.key.map((entry, index) => ({
            stroke: getComputedStyle(entry.line).color,
            width: 2,
            dash: index === 1 ? [6, 4] : undefined,
            points: { show: false },
            paths: this.isStepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
        }));
        return {
            ...this.#size(),
            legend: { show: false },
            cursor: { y: false, drag: { x: false, y: false } },
            scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
            axes: [
                { ...axis, values: (_, moments) => times(moments), space: 70, size: 28 },
                { ...axis, values: (_, values) => values.map(this.format), size: 64 },
            ],
            series: [{}, ...lines],
            hooks: { setCursor: [(plot) => this.#tell(plot.cursor.idx ?? this.#data[0].length - 1)] },
        };
    }

    /** The values under the pointer, or the latest. */
    #tell(index) {
        this.key.forEach(({ value }, line) => setText(value, this.format(this.#data[line + 1][index] ?? NaN)));
    }

    #inWords() {
        const [moments, ...lines] = this.#data;
        const told = lines.map((values, index) => {
            const known = values.filter((value) => value !== null);
            if (known.length === 0) return `${this.names[index]}: nothing yet`;
            const least = known.reduce((least, value) => Math.min(least, value));
            const most = known.reduce((most, value) => Math.max(most, value));
            const [now, from, to] = [known.at(-1), least, most].map(this.format);
            return `${this.names[index]}: now ${now}, between ${from} and ${to}`;
        });
        const since = moments.length ? ` since ${exact.format(moments[0] * 1000)}` : "";
        return `${this.title}${since}. ${told.join(". ")}.`;
    }
}

function times(moments) {
    const span = moments.at(-1) - moments[0];
    const format = span > 36 * 3600 ? day : span < 300 ? exact : clock;
    return moments.map((moment) => format.format(moment * 1000));
}
