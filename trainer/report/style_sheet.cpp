// How the page looks. Text is set for numbers (tabular figures), charts take their colours from variables that have a
// light and a dark value; the reader's choice wins over the system's without a script.
#include <array>

#include <fmt/format.h>

#include "trainer/report/page.h"

namespace seer::report {
namespace {

struct Colour {
  const char* name;
  const char* light;
  const char* dark;
};

/// Hues that stay apart for red-green and blue-yellow blindness, each at least 3:1 against its page.
constexpr std::array<Colour, 18> kColours = {{
    {"page", "#ffffff", "#14171a"},
    {"raised", "#f5f6f7", "#1e2226"},
    {"ink", "#1a1d21", "#e7e8e9"},
    {"soft", "#565c64", "#a3a9b0"},
    {"rule", "#d5d8dc", "#363c42"},
    {"grid", "#eaecee", "#262b30"},
    {"link", "#0b5cad", "#6cb2f7"},
    {"gate", "#0b5cad", "#58a6f2"},
    {"oracle", "#33383e", "#d3d6d9"},
    {"minmax", "#b85c00", "#f0a04b"},
    {"window", "#80379e", "#c990e6"},
    {"anti", "#bf1f5c", "#f4809f"},
    {"mean", "#007d62", "#3fc79e"},
    {"random", "#747a81", "#8e959c"},
    {"other", "#6f6200", "#cdbb4a"},
    {"first", "#e08a00", "#ffd08a"},
    {"last", "#123c86", "#4f93ff"},
    {"glow", "1", "1.3"},
}};

std::string variables(bool dark) {
  std::string out = fmt::format("color-scheme:{};", dark ? "dark" : "light");
  for (const Colour& colour : kColours) {
    out += fmt::format("--{}:{};", colour.name, dark ? colour.dark : colour.light);
  }
  return out;
}

constexpr const char* kRules = R"(
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;max-width:1240px;padding:28px 32px 40px;background:var(--page);color:var(--ink);
 font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
 font-variant-numeric:tabular-nums lining-nums;overflow-wrap:break-word}
h1{font-size:26px;line-height:1.2;font-weight:650;margin:0 0 14px;letter-spacing:-.01em;overflow-wrap:anywhere}
h1 small{display:block;font-size:12px;font-weight:600;letter-spacing:.08em;text-transform:uppercase;color:var(--soft);
 margin-bottom:4px}
h2{font-size:20px;line-height:1.25;font-weight:650;margin:0 0 8px;letter-spacing:-.005em}
h3{font-size:16px;font-weight:650;margin:26px 0 8px}
h3 small{font-size:13.5px;font-weight:400;color:var(--soft);margin-left:8px}
p{margin:0 0 10px;max-width:76ch}
section{border-top:1px solid var(--rule);margin-top:36px;padding-top:20px}
.headline{font-size:18px;line-height:1.45;max-width:68ch}
.headline b{font-weight:650}
.source,.missing{font-size:13.5px;color:var(--soft)}
.source{overflow-wrap:anywhere;max-width:none}
.missing{border-left:3px solid var(--rule);padding-left:10px}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--raised);padding:1px 4px;
 border-radius:3px;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,auto));justify-content:start;gap:10px 32px;margin:18px 0}
dt{font-size:12px;color:var(--soft)}
dd{margin:0;font-size:14px;overflow-wrap:anywhere}
nav{display:flex;flex-wrap:wrap;gap:4px 20px;margin-top:16px;font-size:14px}
a{color:var(--link);text-underline-offset:3px;text-decoration-thickness:1px}
footer{margin-top:36px;padding-top:12px;border-top:1px solid var(--rule);font-size:12.5px;color:var(--soft)}
.theme{float:right;border:1px solid var(--rule);border-radius:6px;padding:0;margin:0 0 8px 16px;display:flex;overflow:hidden}
.theme legend,.theme input{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.theme label{font-size:12.5px;padding:3px 10px;color:var(--soft);cursor:pointer}
.theme label:has(:checked){background:var(--raised);color:var(--ink);font-weight:600}
.theme label:has(:focus-visible){outline:2px solid var(--link);outline-offset:-2px}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(340px,100%),1fr));gap:26px 30px;margin-top:12px}
figure{margin:0;display:flex;flex-direction:column;min-width:0}
figcaption{font-size:13.5px;line-height:1.45;color:var(--soft);margin-bottom:8px;max-width:76ch}
figcaption b{display:block;font-size:15px;color:var(--ink);font-weight:650}
figure>svg{margin-top:auto}
svg{display:block;max-width:100%;height:auto}
svg.chart{width:100%;max-width:460px}
svg text{font-size:12.5px;fill:var(--soft)}
svg.heat text,svg.map text{font-size:11px}
svg text.label{font-size:11.5px;fill:var(--ink);paint-order:stroke;stroke:var(--page);stroke-width:3px;stroke-linejoin:round}
.grid path{stroke:var(--grid);fill:none}
.axis,.frame{stroke:var(--rule);fill:none}
.axis{stroke:var(--soft)}
.line{fill:none;stroke:var(--c);stroke-width:1.5;stroke-linejoin:round;stroke-linecap:round}
.fill{fill:var(--c);stroke:var(--page);stroke-width:.8}
.ring{fill:var(--page);stroke:var(--c);stroke-width:1.5}
.stroke{fill:none;stroke:var(--c);stroke-width:1.7}
.s-gate{--c:var(--gate)}.s-gate .line{stroke-width:2.4}
.s-oracle{--c:var(--oracle)}.s-oracle .line{stroke-dasharray:6 3}
.s-minmax{--c:var(--minmax)}
.s-window{--c:var(--window)}.s-window .line{stroke-dasharray:9 2.5 2 2.5}
.s-anti{--c:var(--anti)}
.s-mean{--c:var(--mean)}.s-mean .line{stroke-dasharray:1.5 3}
.s-random{--c:var(--random)}.s-random .line{stroke-dasharray:3 3}
.s-other{--c:var(--other)}
.ramp{--c:color-mix(in oklab,var(--last) var(--t),var(--first))}
.ramp .line{stroke-width:1.3}
.dashed .line{stroke-dasharray:4 3}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 16px;margin:0 0 6px;padding:0;font-size:12.5px;color:var(--soft)}
.legend svg{display:inline-block;width:28px;height:12px;margin-right:6px;vertical-align:-1px}
.legend li{white-space:nowrap}
p.legend{align-items:center}
p.legend span{display:block;width:110px;height:8px;border-radius:2px}
p.ramp span{background:linear-gradient(to right in oklab,var(--first),var(--last))}
p.key span{background:linear-gradient(to right,transparent,#1b6fd0);filter:brightness(var(--glow));border:1px solid var(--rule)}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(230px,100%),1fr));gap:14px 24px}
.panels p{font-size:12.5px;color:var(--soft);margin:0 0 4px}
.panels p b{color:var(--ink);font-weight:600}
.heat{width:100%;max-width:270px}
.map{width:100%}
image{image-rendering:pixelated;filter:brightness(var(--glow))}
.maps{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(480px,100%),1fr));gap:26px 36px;margin-top:16px}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:10px;margin-top:auto}
.kept{color:var(--gate)}.missed{color:var(--minmax)}.left-out{color:var(--random)}
section>figure{margin-top:18px}
details{margin-top:12px;font-size:13px}
summary{cursor:pointer;color:var(--link)}
summary:focus-visible,.scroll:focus-visible,a:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.scroll{overflow:auto;max-height:420px;margin-top:8px;max-width:100%}
table{border-collapse:collapse;font-size:12.5px;line-height:1.35}
th,td{padding:3px 10px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--grid)}
thead th{position:sticky;top:0;background:var(--page);font-weight:600;color:var(--soft);border-bottom:1px solid var(--rule)}
th:first-child{text-align:left;padding-left:0}
tbody th{font-weight:400}
@media(max-width:640px){body{padding:18px 16px 28px}h1{font-size:22px}.headline{font-size:16.5px}.theme{float:none;
 display:inline-flex;margin:0 0 14px}section{margin-top:28px}
 svg.heat text,svg.map text{font-size:14px}.panels{grid-template-columns:1fr 1fr;gap:12px}.maps{gap:22px}}
@media print{.theme,nav{display:none}body{max-width:none;padding:0}figure,.panels>div{break-inside:avoid}}
)";

}  // namespace

std::string style_sheet() {
  return fmt::format(
             ":root{{{0}}}\n@media(prefers-color-scheme:dark){{:root{{{1}}}}}\n"
             ":root:has(#theme-light:checked){{{0}}}\n:root:has(#theme-dark:checked){{{1}}}",
             variables(false), variables(true)) +
         kRules;
}

}  // namespace seer::report
