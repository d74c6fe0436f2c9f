// One metric of several runs on one chart; choosing another keeps the zoom of the horizontal axis.

const plot = document.getElementById("compare-plot");
const metric = document.getElementById("metric");
const COLOURS = ["#2558a8", "#b4541a", "#1e6b41", "#8a3b8f", "#8a5200", "#0f6f78", "#ab2a22", "#585f67"];

async function draw() {
  const rows = [...document.querySelectorAll("#runs-table tbody tr")];
  const query = new URLSearchParams([["name", metric.value], ...rows.map((row) => ["run", row.dataset.run])]);
  document.getElementById("compare-data").href = `/runs/compare.csv?${query}`;
  const answer = await fetch(`/runs/compare.json?${query}`);
  if (!answer.ok) return;
  const curves = await answer.json();
  const ink = getComputedStyle(document.body).color;
  const traces = rows.map((row, index) => ({
    type: "scatter", mode: curves[row.dataset.run].step.length > 1 ? "lines" : "markers", name: row.dataset.name,
    x: curves[row.dataset.run].step, y: curves[row.dataset.run].value, line: { color: COLOURS[index % COLOURS.length] },
  }));
  const layout = {
    uirevision: "kept", margin: { l: 60, r: 20, t: 10, b: 45 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink }, showlegend: true, legend: { orientation: "h" },
    xaxis: { title: { text: "step" }, automargin: true }, yaxis: { title: { text: metric.value }, automargin: true },
  };
  window.Plotly.react(plot, traces, layout, { displaylogo: false, responsive: true });
}

if (plot) {
  metric.addEventListener("change", draw);
  draw();
}
