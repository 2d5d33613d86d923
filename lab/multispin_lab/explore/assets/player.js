// Plays two recorded episodes side by side on canvases: `multispinPlayer.mount(root, record)` draws into root.
// The record is that of multispin_lab.explore.no_barrier.compute; times are whole ticks.
"use strict";

document.head.append(
  Object.assign(document.createElement("link"), { rel: "stylesheet", href: document.currentScript.src.replace(".js", ".css") }),
);

const multispinPlayer = (() => {
  const DRAFTING = 0, UPLOADING = 1, WAITING = 2, VERIFYING = 3;
  const NAMES = ["drafting", "uploading", "waiting for the server", "in verification"];
  const HEIGHTS = [0.9, 0.6, 0.25, 0.9]; // relative to the row, so that activities differ in more than colour
  const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 5];
  const ROW = 15, LEAST_ROW = 9, LEFT = 26, BELOW = 18, CURVE = 130;
  const NEWS = 250; // ms between two updates of the text
  let chosenSpeed = 0.5; // kept for the next record

  // Begin and end of each activity, from a flat list of (activity, gap, duration).
  function unpack(flat) {
    const count = flat.length / 3;
    const row = { what: new Int32Array(count), begin: new Int32Array(count), end: new Int32Array(count) };
    for (let i = 0, time = 0; i < count; i++) {
      row.what[i] = flat[3 * i];
      row.begin[i] = time += flat[3 * i + 1];
      row.end[i] = time += flat[3 * i + 2];
    }
    return row;
  }

  // Number of entries of a sorted list that are at most a value.
  function atMost(list, value) {
    let low = 0, high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle] <= value) low = middle + 1; else high = middle;
    }
    return low;
  }

  // Round up to a number for the end of an axis.
  const roundUp = (value) => {
    const unit = 10 ** Math.floor(Math.log10(value));
    return unit * [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10].find((number) => number * unit >= value);
  };

  const quantile = (values, part) => {
    if (!values.length) return null;
    const index = part * (values.length - 1), low = Math.floor(index), high = Math.min(low + 1, values.length - 1);
    return values[low] + (index - low) * (values[high] - values[low]);
  };

  function element(kind, parent, properties = {}, attributes = {}) {
    const made = Object.assign(document.createElement(kind), properties);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    parent.append(made);
    return made;
  }

  // Resize a canvas to the width of its parent, sharp on any screen.
  function resizeCanvas(canvas, height) {
    const width = Math.max(1, canvas.parentElement.clientWidth), ratio = window.devicePixelRatio || 1;
    canvas.style.width = "100%";
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    return { context, width, height };
  }

  function clear(area, paper) {
    area.context.fillStyle = paper;
    area.context.fillRect(0, 0, area.width, area.height);
    return area.context;
  }

  class Player {
    constructor(root, record) {
      this.root = root;
      this.record = record;
      this.colours = record.colours;
      this.fills = [this.colours.drafting, this.colours.uploading, this.colours.waiting, this.colours.verifying];
      this.sides = record.sides.map((side) => ({
        ...side,
        rows: side.devices.map(unpack),
        passes: unpack(side.server),
        answers: side.answers || [],
        marks: side.marks || [],
      }));
      this.end = Math.min(...record.sides.map((side) => side.shown));
      this.window = record.window * record.ticks;
      this.clock = this.end; // shown in full until it plays
      this.playing = false;
      this.frames = 0; // since the last start, for measurements
      this.started = 0;
      this.build();
      this.observer = new ResizeObserver(() => this.resize());
      this.observer.observe(root);
      this.resize();
    }

    build() {
      const { root } = this;
      root.replaceChildren();
      root.classList.add("player");
      const bar = element("div", root, { className: "player-bar" });
      this.button = element("button", bar, { type: "button" }, { "data-player": "play" });
      this.button.addEventListener("click", () => this.toggle());
      const speed = element("label", bar, { textContent: "speed " });
      this.speed = element("select", speed, {}, { "data-player": "speed" });
      for (const value of SPEEDS) element("option", this.speed, { value, textContent: `${value} ×` });
      this.speed.value = chosenSpeed;
      this.speed.addEventListener("change", () => (chosenSpeed = Number(this.speed.value)));
      const time = element("label", bar, { className: "player-time", textContent: "time " });
      this.slider = element("input", time, { type: "range", min: 0, max: this.end, step: 1 }, { "data-player": "time" });
      this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
      this.shown = element("output", bar);
      const keys = "Keys: space: play or pause; ← and →: half a second back or forward; + and −: speed.";
      element("p", root, { className: "player-keys", textContent: keys });
      const legend = element("ul", root, { className: "player-legend" });
      NAMES.forEach((name, what) => {
        const item = element("li", legend);
        const swatch = element("span", item, { className: "player-swatch" }, { "aria-hidden": "true" });
        swatch.style.background = this.fills[what];
        swatch.style.height = `${12 * HEIGHTS[what]}px`;
        item.append(name);
      });
      if (this.record.serving) {
        for (const [sign, name] of [["❘", "request"], ["✓", "in time"], ["✕", "late"], ["☒", "dropped"]]) {
          element("li", legend, { textContent: `${sign} ${name}` });
        }
      }
      const both = element("div", root, { className: "player-sides" });
      for (const side of this.sides) {
        const part = element("section", both, {}, { "aria-label": side.name });
        element("h3", part, { textContent: side.name });
        side.canvas = element("canvas", element("div", part), {}, { role: "img", tabindex: -1 });
        side.news = element("p", part, { className: "player-news" });
      }
      this.curves = [{ title: this.record.serving ? "tokens/s in time, so far" : "tokens/s, so far", bound: this.record.bound,
        of: (side, number) => side.gained[number] * this.record.ticks / side.ends[number] }];
      if (this.record.serving) this.curves.push({ title: "waiting requests", of: (side, number) => side.waiting[number] });
      const below = element("div", root, { className: "player-sides" });
      for (const curve of this.curves) {
        const part = element("section", below, {}, { "aria-label": curve.title });
        element("h3", part, { textContent: curve.title });
        curve.canvas = element("canvas", element("div", part), {}, { role: "img", "aria-label": `${curve.title}, over time` });
        curve.values = this.sides.map((side) => side.ends.map((_, number) => curve.of(side, number)));
        const largest = (values) => values.reduce((most, value) => Math.max(most, value), 0);
        curve.top = roundUp(Math.max(curve.bound || 0, 1, ...curve.values.map(largest)));
      }
      root.tabIndex = 0;
      root.addEventListener("keydown", (event) => this.key(event));
      this.label();
    }

    label() {
      this.button.textContent = this.playing ? "Pause" : "Play";
    }

    resize() {
      const users = this.record.users, row = Math.max(LEAST_ROW, Math.min(ROW, 420 / users));
      for (const side of this.sides) {
        side.area = resizeCanvas(side.canvas, (users + 1.4) * row + BELOW);
        side.row = row;
      }
      for (const curve of this.curves) curve.area = resizeCanvas(curve.canvas, CURVE);
      this.draw(true);
    }

    toggle() {
      if (this.playing) this.pause(); else this.play();
    }

    play() {
      if (this.playing) return;
      if (this.clock >= this.end) this.clock = 0;
      this.playing = true;
      this.frames = 0;
      this.started = this.last = performance.now();
      this.label();
      this.request = requestAnimationFrame((now) => this.frame(now));
    }

    pause() {
      this.playing = false;
      cancelAnimationFrame(this.request);
      this.label();
      this.draw(true);
    }

    seek(clock) {
      this.clock = Math.max(0, Math.min(this.end, clock));
      this.draw(true);
    }

    key(event) {
      const inside = event.target !== this.root;
      const { ticks } = this.record;
      const index = SPEEDS.indexOf(Number(this.speed.value));
      if (event.key === " " && (!inside || event.target.tagName === "CANVAS")) this.toggle();
      else if (event.key === "ArrowLeft" && !inside) this.seek(this.clock - 0.5 * ticks);
      else if (event.key === "ArrowRight" && !inside) this.seek(this.clock + 0.5 * ticks);
      else if (event.key === "+") this.speed.value = chosenSpeed = SPEEDS[Math.min(index + 1, SPEEDS.length - 1)];
      else if (event.key === "-") this.speed.value = chosenSpeed = SPEEDS[Math.max(index - 1, 0)];
      else return;
      event.preventDefault();
    }

    frame(now) {
      if (!this.playing) return;
      if (!this.root.isConnected) return this.stop();
      this.clock += (now - this.last) / 1000 * Number(this.speed.value) * this.record.ticks;
      this.last = now;
      this.frames += 1;
      if (this.clock >= this.end) {
        this.clock = this.end;
        this.pause();
        return;
      }
      this.draw(false);
      this.request = requestAnimationFrame((next) => this.frame(next));
    }

    stop() {
      this.playing = false;
      cancelAnimationFrame(this.request);
      this.observer.disconnect();
    }

    draw(text) {
      for (const side of this.sides) this.drawSide(side);
      for (const curve of this.curves) this.drawCurve(curve);
      this.slider.value = this.clock;
      this.shown.textContent = `${(this.clock / this.record.ticks).toFixed(2)} of ${(this.end / this.record.ticks).toFixed(2)} s`;
      const now = performance.now();
      if (!text && now - (this.newsTime || 0) < NEWS) return;
      this.newsTime = now;
      for (const side of this.sides) {
        side.news.textContent = this.news(side);
        side.canvas.setAttribute("aria-label", `Timeline. ${side.news.textContent}`);
      }
    }

    drawSide(side) {
      const { area, row } = side, { users, ticks } = this.record;
      const context = clear(area, this.colours.paper);
      const start = Math.max(0, this.clock - this.window), scale = (area.width - LEFT - 2) / this.window;
      const x = (time) => LEFT + (time - start) * scale, bottom = area.height - BELOW;
      const step = 0.5 * Math.max(1, Math.round(this.window / ticks / 2)) * ticks;
      context.textAlign = "center";
      for (let time = Math.ceil(start / step) * step; time <= start + this.window; time += step) {
        context.fillStyle = this.colours.faint;
        context.fillRect(x(time), 0, 1, bottom);
        context.fillStyle = this.colours.ink;
        if (x(time) < area.width - 16) context.fillText(`${time / ticks} s`, Math.max(x(time), 14), bottom + 10);
      }
      context.textAlign = "right";
      side.rows.forEach((stretches, user) => {
        const middle = (user + 0.5) * row;
        context.fillStyle = this.colours.ink;
        if (row >= 12 || user % 2 === 0) context.fillText(user + 1, LEFT - 5, middle);
        this.fill(context, stretches, x, start, (what) => this.fills[what], (what) => HEIGHTS[what] * (row - 1), middle);
      });
      const height = 1.4 * row - 2, middle = bottom - 0.5 * height;
      context.fillStyle = this.colours.ink;
      context.fillText("S", LEFT - 5, middle);
      this.fill(context, side.passes, x, start, () => this.colours.verifying, () => height, middle);
      context.textAlign = "center";
      context.fillStyle = this.colours.paper;
      for (let i = atMost(side.passes.end, start); i < side.passes.begin.length && side.passes.end[i] <= this.clock; i++) {
        const centre = x((side.passes.begin[i] + side.passes.end[i]) / 2);
        const wide = (side.passes.end[i] - side.passes.begin[i]) * scale;
        if (wide > 14 && centre > LEFT + 7) context.fillText(side.passes.what[i], centre, middle);
      }
      for (const [time, user, kind] of side.marks) {
        if (time >= start && time <= this.clock) this.mark(context, kind, x(time), (user + 0.5) * row, 0.3 * row);
      }
    }

    fill(context, stretches, x, start, colour, height, middle) {
      for (let i = atMost(stretches.end, start); i < stretches.begin.length && stretches.begin[i] < this.clock; i++) {
        const left = x(Math.max(stretches.begin[i], start)), right = x(Math.min(stretches.end[i], this.clock));
        const tall = height(stretches.what[i]);
        context.fillStyle = colour(stretches.what[i]);
        context.fillRect(left, middle - 0.5 * tall, Math.max(right - left, 0.5), tall);
      }
    }

    mark(context, kind, x, y, size) {
      const ink = kind === "in time" || kind === "arrived" ? this.colours.ink : this.colours.refused;
      context.strokeStyle = ink;
      context.lineWidth = 1.5;
      context.beginPath();
      if (kind === "arrived") {
        context.moveTo(x, y - 1.6 * size);
        context.lineTo(x, y);
        context.stroke();
        return;
      }
      if (kind === "dropped") {
        context.fillStyle = this.colours.paper;
        context.fillRect(x - size, y - size, 2 * size, 2 * size);
        context.strokeRect(x - size, y - size, 2 * size, 2 * size);
      } else {
        context.fillStyle = ink;
        context.arc(x, y, size, 0, 2 * Math.PI);
        context.fill();
        context.strokeStyle = this.colours.paper;
        context.beginPath();
      }
      const part = 0.55 * size;
      if (kind === "in time") {
        context.moveTo(x - part, y);
        context.lineTo(x - 0.25 * part, y + 0.8 * part);
        context.lineTo(x + part, y - part);
      } else {
        context.moveTo(x - part, y - part);
        context.lineTo(x + part, y + part);
        context.moveTo(x - part, y + part);
        context.lineTo(x + part, y - part);
      }
      context.stroke();
    }

    drawCurve(curve) {
      const { area } = curve, { ticks } = this.record;
      const context = clear(area, this.colours.paper), bottom = area.height - BELOW, left = 34;
      const x = (time) => left + time / this.end * (area.width - left - 8), y = (value) => bottom - value / curve.top * (bottom - 8);
      context.fillStyle = this.colours.faint;
      context.fillRect(left, 0, 1, bottom);
      context.fillRect(left, bottom, area.width - left, 1);
      context.fillStyle = this.colours.ink;
      context.textAlign = "right";
      context.fillText(`${(this.end / ticks).toFixed(1)} s`, area.width - 4, bottom + 10);
      context.fillText(curve.top, left - 4, 8);
      context.fillText("0", left - 4, bottom);
      context.lineWidth = 1.5;
      if (curve.bound) {
        context.strokeStyle = this.colours.ink;
        context.setLineDash([2, 3]);
        this.line(context, [[left, y(curve.bound)], [area.width - 8, y(curve.bound)]]);
        context.textAlign = "left";
        context.fillText(`bound ${curve.bound.toFixed(1)}`, left + 4, y(curve.bound) + 9);
      }
      this.sides.forEach((side, number) => {
        const over = atMost(side.ends, this.clock), every = Math.max(1, Math.floor(over / 400));
        const points = [];
        for (let i = 0; i < over; i += every) points.push([x(side.ends[i]), y(curve.values[number][i])]);
        if (over) points.push([x(side.ends[over - 1]), y(curve.values[number][over - 1])]);
        context.strokeStyle = number ? this.colours.refused : this.colours.drafting;
        context.setLineDash(number ? [6, 3] : []);
        this.line(context, points);
        context.setLineDash([]);
        context.fillStyle = context.strokeStyle;
        context.textAlign = "left";
        context.fillText(`${number ? "╌" : "─"} ${side.name}`, left + 4 + number * 0.45 * (area.width - left), bottom + 10);
      });
    }

    line(context, points) {
      context.beginPath();
      points.forEach(([x, y], number) => (number ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.stroke();
    }

    // Text of a timeline's moment.
    news(side) {
      const counts = [0, 0, 0, 0], { ticks, bound, users } = this.record;
      const now = Math.min(this.clock, this.end - 1); // at the end, the last activity
      for (const row of side.rows) {
        const index = atMost(row.end, now);
        if (index < row.begin.length && row.begin[index] <= now) counts[row.what[index]] += 1;
      }
      const idle = users - counts.reduce((sum, count) => sum + count, 0);
      const doing = counts.map((count, what) => `${count} ${NAMES[what]}`).join(", ");
      const over = atMost(side.ends, this.clock);
      const rate = over ? side.gained[over - 1] * ticks / side.ends[over - 1] : 0;
      const share = `${Math.round(100 * rate / bound)} % of the bound ${bound.toFixed(1)}`;
      if (!this.record.serving) return `Devices: ${doing}. ${rate.toFixed(1)} tokens/s so far, ${share}.`;
      const answers = side.answers.slice(0, atMost(side.answers.map((answer) => answer[0]), this.clock));
      const inTime = answers.filter((answer) => answer[1]).length, late = answers.length - inTime;
      const dropped = side.marks.filter(([time, , kind]) => kind === "dropped" && time <= this.clock).length;
      const part = answers.length + dropped ? `${Math.round(100 * inTime / (answers.length + dropped))} % in time` : "none ended";
      const ttft = answers.map((answer) => answer[2]).sort((a, b) => a - b);
      const tail = ttft.length ? ` TTFT p50 ${quantile(ttft, 0.5).toFixed(2)} s, p99 ${quantile(ttft, 0.99).toFixed(2)} s.` : "";
      const waiting = over ? side.waiting[over - 1] : 0;
      return `Devices: ${doing}, ${idle} idle; ${waiting} requests waiting. ${rate.toFixed(1)} tokens/s in time so far, ${share}. ` +
        `Requests: ${inTime} in time, ${late} late, ${dropped} dropped (${part}).${tail}`;
    }
  }

  return {
    mount(root, record) {
      if (root.player) root.player.stop();
      root.player = new Player(root, record);
      return root.player;
    },
  };
})();

// Mount a player on the record of present or new results.
function playRecord() {
  const root = document.getElementById("player");
  const record = document.getElementById("record");
  if (root && record && !root.player) multispinPlayer.mount(root, JSON.parse(record.textContent));
}
document.addEventListener("drawn", playRecord);
playRecord();
