// Draws the plots of the page in place of their pictures, each when it comes into view.
(function () {
  "use strict";
  if (!window.Plotly) return;
  const MOST_SURFACES = 4;  // browsers keep few drawing contexts
  const surfaces = [];
  const coarse = window.matchMedia("(pointer: coarse)").matches;
  const shapes = {
    "circle": "M16 2.5a3.5 3.5 0 1 0 .01 0z", "square": "M12.5 2.5h7v7h-7z", "diamond": "M16 1.5l4.5 4.5-4.5 4.5-4.5-4.5z",
    "triangle-up": "M16 1.5l4.5 8h-9z", "x": "M13 2l3 3 3-3 1 1-3 3 3 3-1 1-3-3-3 3-1-1 3-3-3-3z",
    "star": "M16 1l1.4 3.4 3.6.3-2.8 2.3.9 3.6-3.1-2-3.1 2 .9-3.6-2.8-2.3 3.6-.3z",
  };
  const dashes = { solid: "", dash: "5 3", dot: "2 2" };

  function canTurn() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  }

  function layoutOf(plot) {
    return Object.assign({
      autosize: true, margin: { l: 56, r: 14, t: 8, b: 46 }, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
      font: { family: "system-ui, sans-serif", size: 12, color: "#22262b" }, showlegend: false,
      hovermode: "closest", hoverlabel: { bgcolor: "#22262b", font: { color: "#fff" } },
      dragmode: coarse ? false : "zoom",
    }, plot.layout);
  }

  function show(node, plot, turned) {
    const layout = layoutOf(plot);
    if (turned) layout.dragmode = "turntable";
    if (turned) layout.margin = { l: 0, r: 0, t: 0, b: 0 };
    const traces = turned ? plot.surface : plot.traces;
    return window.Plotly.react(node, traces, layout, { displayModeBar: false, doubleClick: "reset" });
  }

  function swatch(entry) {
    const line = entry.dash ? `<path d="M1 6h30" stroke="${entry.color}" stroke-width="2" stroke-dasharray="${dashes[entry.dash]}"/>` : "";
    const point = entry.symbol ? `<path d="${shapes[entry.symbol]}" fill="${entry.color}"/>` : "";
    return `<svg width="32" height="12" viewBox="0 0 32 12" aria-hidden="true">${line}${point}</svg>`;
  }

  function addLegend(panel, node, plot) {
    const list = panel.querySelector(".legend");
    if (!plot.legend.length) list.remove();
    for (const entry of plot.legend) {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.innerHTML = swatch(entry);
      button.append(entry.name);
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        window.Plotly.restyle(node, { visible: on }, entry.traces);
      });
      const item = document.createElement("li");
      item.append(button);
      list.append(item);
    }
  }

  function addTurning(panel, node, plot) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "turn";
    const set = (turned) => {
      button.setAttribute("aria-pressed", String(turned));
      show(node, plot, turned);
    };
    button.textContent = "as a surface, to be turned";
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      const turned = button.getAttribute("aria-pressed") !== "true";
      const at = surfaces.indexOf(set);
      if (at >= 0) surfaces.splice(at, 1);
      if (turned) surfaces.push(set);
      if (surfaces.length > MOST_SURFACES) surfaces.shift()(false);
      set(turned);
    });
    node.before(button);
  }

  function draw(panel) {
    if (panel.dataset.drawn) return;
    panel.dataset.drawn = "yes";
    const plot = JSON.parse(panel.querySelector("script").textContent);
    const node = panel.querySelector(".plot");
    addLegend(panel, node, plot);
    if (plot.surface.length && canTurn()) addTurning(panel, node, plot);
    show(node, plot, false);
    new ResizeObserver(() => window.Plotly.Plots.resize(node)).observe(node);
  }

  // paper takes all plots at once, two beside each other
  const paper = { autosize: false, width: 330, height: 240 };
  const screen = { autosize: true, width: null, height: null };
  const unfolded = [];

  function size(panel, layout) {
    window.Plotly.relayout(panel.querySelector(".plot"), layout);
  }

  window.addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details.fold:not([open])")) unfolded.push(fold);
    for (const fold of unfolded) fold.open = true;
    for (const panel of document.querySelectorAll(".panels:not([hidden]) .panel")) {
      draw(panel);
      size(panel, paper);
    }
  });
  window.addEventListener("afterprint", () => {
    for (const fold of unfolded.splice(0)) fold.open = false;
    for (const panel of document.querySelectorAll(".panels:not([hidden]) .panel")) size(panel, screen);
  });

  for (const figure of document.querySelectorAll("figure.drawn")) {
    const panels = figure.querySelector(".panels"), picture = figure.querySelector(".static");
    if (!panels) continue;
    panels.hidden = false;
    picture.hidden = true;
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries.filter((one) => one.isIntersecting)) {
        seen.unobserve(entry.target);
        try {
          draw(entry.target);
        } catch (error) {  // the picture says the same
          panels.hidden = true;
          picture.hidden = false;
        }
      }
    }, { rootMargin: "400px" });
    panels.querySelectorAll(".panel").forEach((panel) => seen.observe(panel));
  }
})();
