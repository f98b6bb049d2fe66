"""The one style sheet: light and dark, from a telephone to a wall, states by sign and word before colour."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--page:#ffffff;--text:#1f2328;--link:#0550ae;--line:#d1d9e0;--tile:#f5f7f9;
--good:#1a7f37;--warn:#8a5a00;--bad:#c11c28;--dim:#59636e;--bar:#0969da}
@media(prefers-color-scheme:dark){:root{--page:#15181d;--text:#e6e9ed;--link:#79b8ff;--line:#3a414a;--tile:#1c2027;
--good:#56d364;--warn:#e3b341;--bad:#ff8a80;--dim:#a3acb6;--bar:#58a6ff}}
*{box-sizing:border-box}
body{font:15px/1.45 system-ui,sans-serif;margin:1.25rem auto;padding:0 1rem;max-width:80rem;
background:var(--page);color:var(--text);overflow-wrap:anywhere}
a{color:var(--link)}:focus-visible{outline:2px solid var(--link);outline-offset:2px}
h1{font-size:1.4rem;margin:0 0 .5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}h3{font-size:1rem;margin:1rem 0 .25rem}
p{margin:.5rem 0}small,.small{font-size:.87em;color:var(--dim)}
table{border-collapse:collapse;width:100%;margin:0 0 1.25rem}
th,td{text-align:left;padding:.3rem 1rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600}thead th{color:var(--dim);overflow-wrap:normal}
tbody th{font-weight:normal}tbody tr:hover{background:var(--tile)}
caption,.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table.facts{width:auto}table.facts th{white-space:nowrap;overflow-wrap:normal;color:var(--dim);font-weight:600}
.tight{white-space:nowrap;overflow-wrap:normal}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
code,pre{font:13px/1.45 ui-monospace,monospace}
pre{white-space:pre-wrap;padding:.75rem;margin:0 0 1.25rem;border:1px solid var(--line)}
svg{display:block;width:12rem;height:1.3em}rect{fill:var(--bar)}rect.bad{fill:var(--bad)}
.spark{width:9rem;height:1.6rem;border-bottom:1px solid var(--line)}
.spark path{fill:none;stroke:var(--bar);stroke-width:1.5;vector-effect:non-scaling-stroke}
.spark .f{fill:var(--bad);stroke:none}
.ok,.delivered,.accepted{color:var(--good)}.degraded,.junked{color:var(--warn);font-weight:600}
.failing,.overdue,.bounced,.rejected,.deferred,.unsent{color:var(--bad);font-weight:600}
.unknown,.unobserved,.skipped,.dim{color:var(--dim)}
:is(.ok,.delivered,.accepted):before{content:"\\2713\\a0"/""}:is(.degraded,.junked):before{content:"\\25b2\\a0"/""}
:is(.failing,.overdue,.bounced,.rejected,.deferred,.unsent):before{content:"\\2715\\a0"/""}
:is(.unknown,.unobserved,.skipped):before{content:"?\\a0"/""}
.counts{display:flex;flex-wrap:wrap;gap:.5rem;padding:0;margin:.5rem 0;list-style:none}
.counts li{padding:.2rem .7rem;border:1px solid var(--line);border-radius:.3rem;background:var(--tile)}
.counts a{text-decoration:none}.counts strong{font-size:1.25rem}
form{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:end;margin:1rem 0}
label{display:block;font-size:.87em;color:var(--dim)}
input,select,button{font:inherit;padding:.2rem .5rem;color:inherit;background:var(--page);border:1px solid var(--dim);
border-radius:.3rem;max-width:100%}
.matrix{width:auto}.matrix td{padding:.3rem .6rem;border:1px solid var(--line);min-width:2.2rem}
.matrix th{padding-right:.8rem}.matrix p{margin:0}.matrix p+p,.matrix div+div{margin-top:.3rem}
.tiles{display:flex;flex-wrap:wrap;gap:.4rem;list-style:none;padding:0;margin:.25rem 0 1rem}
.tiles li{border:1px solid var(--line);background:var(--tile);padding:.2rem .6rem}
.dot.ok:before{content:"\\2713\\a0"/"ok: "}.dot.degraded:before{content:"\\25b2\\a0"/"degraded: "}
.dot.failing:before{content:"\\2715\\a0"/"failing: "}.dot.unknown:before{content:"?\\a0"/"unknown: "}
.signs .dot{display:inline-block;min-width:1.5rem;text-decoration:none;text-align:center;font-size:0}
.signs .dot:before{font-size:1rem}
@media(max-width:60rem){.wide{display:none}}
@media(max-width:40rem){body{margin:.75rem auto;padding:0 .6rem;font-size:14px}th,td{padding-right:.5rem}
.medium{display:none}.list tr{display:grid;grid-template-columns:minmax(0,1fr) 6.75rem 6rem;
grid-auto-flow:dense;border-bottom:1px solid var(--line)}.list :is(th,td){border:0}.list .long{grid-column:1/-1}
.list .long:empty{display:none}svg{width:4rem}.spark{width:6rem}table.facts th{white-space:normal}pre{padding:.4rem}
.matrix,.matrix tbody,.matrix tr,.matrix tbody th{display:block;width:100%}.matrix thead{display:none}
.matrix tbody th{font-weight:600;border:0;padding-top:.6rem}.matrix td{display:block;border-width:0 0 1px}
.signs td{padding:0 .6rem}.signs .dot{display:block;text-align:left;font-size:13px}.matrix td:empty{display:none}
.matrix td:before{content:attr(data-of);color:var(--dim);font-size:.87em;display:block}}
"""
