"""The page of a model card: its text in Jinja's language, and how it looks."""

STYLE = """
:root{--ink:#1d2733;--soft:#5b6775;--line:#dfe4ea;--pale:#f6f8fa;--good:#1a7f37;--bad:#c0362c}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:#fff;color:var(--ink);font:16px/1.55
system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main,header,nav{max-width:1120px;margin:0 auto;padding:0 24px}
header{padding-top:36px}
h1{font-size:2rem;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:1.4rem;margin:0 0 6px;letter-spacing:-.005em}
h3{font-size:1.02rem;margin:26px 0 6px}
h4{font-size:.86rem;margin:0 0 6px;font-weight:600}
p{margin:0 0 10px;max-width:78ch}
.soft,.note{color:var(--soft)}
.note{font-size:.86rem;margin:0 0 4px;overflow-wrap:anywhere}
.failed{font-size:.9rem;border-left:3px solid var(--bad);padding:2px 0 2px 10px;overflow-wrap:anywhere}
nav{padding-top:14px}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:6px;padding:0;margin:0}
nav a{display:block;padding:3px 11px;border:1px solid var(--line);border-radius:999px;text-decoration:none;
color:var(--ink);font-size:.88rem}
nav a:hover,nav a:focus{background:var(--pale)}
section{padding:30px 0 6px;margin-top:26px;border-top:1px solid var(--line)}
.scroll{overflow-x:auto;margin:10px 0 16px}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;min-width:min(100%,420px)}
caption{text-align:left;font-weight:600;padding:0 0 6px;caption-side:top}
th,td{padding:6px 14px 6px 0;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}
th.words,td.words{text-align:left}
thead th{border-bottom:2px solid #b9c2cc;font-weight:600;vertical-align:bottom}
tbody th{font-weight:600}
tr.baseline th,tr.baseline td{color:var(--soft);font-weight:400}
th i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:8px;background:var(--c)}
td.best{font-weight:700}
#glance thead th{white-space:normal}
#glance th,#glance td{padding-right:11px}
td small{font-weight:400}
.wide{font-size:.78rem}
.wide th,.wide td{padding-right:9px}
th a{color:inherit;text-underline-offset:3px}
.facts td,.facts th{white-space:normal;text-align:left;vertical-align:top;overflow-wrap:anywhere}
.facts .short{white-space:nowrap}
.facts td:nth-child(2){min-width:7em}
code{font:0.86em ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:22px 40px;margin:12px 0
8px;align-items:start}
.beside{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:0 40px;align-items:start}
.beside>div{min-width:0}
.bars{min-width:0}
.bar{display:grid;grid-template-columns:minmax(0,11em) 1fr 6.5em;gap:8px;align-items:center;font-size:.8rem;
line-height:1.25;padding:2px 0}
.bar>span:first-child{overflow-wrap:anywhere}
.track{position:relative;height:15px;background:var(--pale)}
.track i{position:absolute;top:0;bottom:0}
.fill{background:var(--c)}
.v1 .fill{opacity:.62}.v2 .fill{opacity:.42}.v3 .fill{opacity:.3}
.spread{top:6px!important;bottom:6px!important;background:rgba(0,0,0,.75);min-width:1px}
.track .mark{width:0;border-left:2px dashed #111;top:-2px;bottom:-2px}
.value{font-variant-numeric:tabular-nums;white-space:nowrap}
.b0{--c:#8b95a1}.b1{--c:#b9c0c9}.b2{--c:#d3d8de}
figure{margin:0}
figcaption{font-size:.86rem;font-weight:600;margin-bottom:4px}
.curves{max-width:520px}
.curves svg{display:block;width:100%;height:auto}
svg text{font-size:12px;fill:var(--soft)}
svg .grid{stroke:var(--line);stroke-width:1}
svg line.mark{stroke:#111;stroke-width:1.2;stroke-dasharray:2 3}
.line{fill:none;stroke:var(--c);stroke-width:2}
.line.d1{stroke-dasharray:6 4}
.line.d2{stroke-dasharray:2 3}
.line.d3{stroke-dasharray:9 3 2 3}
.dot{fill:var(--c)}
.band{fill:var(--c);opacity:.16}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;font-size:.8rem;max-width:none}
.key i{display:inline-block;width:20px;height:0;border-top:3px solid var(--c);margin-right:6px;vertical-align:middle}
.key.d1 i{border-top-style:dashed}
.key.d2 i,.key.d3 i{border-top-style:dotted}
.key.chance i{border-top:2px dotted #111}
.queries{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:26px 40px;margin-top:14px}
.query{min-width:0;break-inside:avoid}
.query h3{margin:0 0 8px;display:flex;align-items:center;gap:12px}
.query h3 img{width:76px;height:76px;border-radius:4px}
.row{display:grid;grid-template-columns:8.2em 1fr;gap:8px;align-items:center;padding:4px 0;border-top:1px solid
var(--line);font-size:.84rem}
.row b{overflow-wrap:anywhere;font-weight:600}
.found{display:grid;grid-template-columns:repeat(5,minmax(0,68px));gap:6px;list-style:none;margin:0;padding:0}
.found li{text-align:center;font-size:.72rem;line-height:1.2;min-width:0;overflow-wrap:anywhere;color:var(--soft)}
.found img{display:block;width:100%;aspect-ratio:1;border:3px solid var(--bad);border-radius:4px;margin-bottom:2px}
.found .right img{border-color:var(--good)}
.found .right{color:var(--good)}
.found .wrong{color:var(--bad)}
.maps td,.maps th{border:0;padding:3px 6px 3px 0;text-align:left}
.maps img{display:block;width:132px;height:auto;border-radius:3px}
footer{max-width:1120px;margin:40px auto 0;padding:14px 24px 40px;color:var(--soft);font-size:.84rem;border-top:1px
solid var(--line)}
@media (max-width:640px){
body{font-size:15px}
main,header,nav,footer{padding-left:16px;padding-right:16px}
h1{font-size:1.6rem}
.bar{grid-template-columns:minmax(0,7.4em) 1fr 6.4em}
.row{grid-template-columns:1fr}
.maps img{width:104px}
}
@media print{
@page{margin:14mm}
body{font-size:10.5pt}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
nav{display:none}
main,header,footer{max-width:none;padding-left:0;padding-right:0}
.scroll{overflow:visible}
table{font-size:8pt}
th,td{padding:3px 8px 3px 0}
tr,figure,.bars,.query{break-inside:avoid}
h2,h3{break-after:avoid}
section{margin-top:14px;padding-top:14px}
.charts,.queries,.beside{grid-template-columns:1fr 1fr;gap:12px 20px}
.bar{grid-template-columns:minmax(0,9em) 1fr 6em;font-size:7pt}
.row{grid-template-columns:6em 1fr;padding:2px 0;font-size:7pt}
.found{grid-template-columns:repeat(5,minmax(0,44px));gap:3px}
.found li{font-size:5.5pt}
.query h3 img{width:44px;height:44px}
.maps img{width:84px}
}
"""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ card.title }}</title>
<link rel="icon" href="data:,">
<style>{{ style }}</style>
</head>
<body>
<header>
<h1>{{ card.title }}</h1>
<p class="soft">{{ names|length }} checkpoint{{ '' if names|length == 1 else 's' }}: {{ names|join(' · ') }}. Made {{
card.made[:10] }} at {{ card.made[11:16] }} by mimselfsup {{ card.versions.mimselfsup }}.</p>
</header>
<nav aria-label="Sections"><ul>
<li><a href="#glance">At a glance</a></li>
{% for section in sections %}
<li><a href="#{{ section.name }}">{{ section.name }}</a></li>
{% endfor %}
{% if hits %}
<li><a href="#neighbours">Neighbours</a></li>
{% endif %}
{% if attention %}
<li><a href="#looks">Attention pictures</a></li>
{% endif %}
<li><a href="#made">How it was made</a></li>
</ul></nav>
<main>
<section id="glance">
<h2>At a glance</h2>
<p>One number per protocol, of each model the best of its rows; bold is the best checkpoint. What is not above random
init by more than the spread, and above raw pixels, has not been learnt.</p>
{% if summary.rows %}
<div class="scroll"><table>
<thead><tr><th scope="col">protocol</th><th scope="col" class="words">number</th>
{% for name in names %}
<th scope="col"><i class="{{ looks[name] }}"></i>{{ name }}</th>
{% endfor %}
{% for name in summary.shared %}
<th scope="col" class="soft">{{ name }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in summary.rows %}
<tr><th scope="row"><a href="#{{ row.protocol }}">{{ row.protocol }}</a></th><td class="words">{{ row.column }}</td>
{% for cell in row.cells %}
<td{% if cell.best %} class="best"{% elif loop.index > names|length %} class="soft"{% endif %}>{{ cell.text }}
{% for line in cell.below %}
<br><small class="soft">{{ line }}</small>
{% endfor %}
</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table></div>
{% else %}
<p class="failed">No protocol gave a number.</p>
{% endif %}
</section>
{% for section in sections %}
<section id="{{ section.name }}">
<h2>{{ section.name }}: {{ section.summary }}</h2>
{% if section.reading %}
<p>{{ section.reading }}</p>
{% endif %}
{% for model, message in section.failed.items() %}
<p class="failed"><b>{{ model }}</b> was not measured: {{ message }}</p>
{% endfor %}
{% for table in section.tables %}
<div{% if table.beside %} class="beside"{% endif %}>
<div><div class="scroll"><table{% if table.header|length > 9 %} class="wide"{% endif %}>
<caption>{{ table.title }}</caption>
<thead><tr>
{% for title in table.header %}
<th scope="col"{% if loop.index0 in table.worded %} class="words"{% endif %}>{{ title or 'model' }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in table.marked %}
<tr{% if row.baseline %} class="baseline"{% endif %}>
<th scope="row"><i class="{{ row.look }}"></i>{{ row.cells[0] }}</th>
{% for cell in row.cells[1:] %}
<td{% if loop.index in table.worded %} class="words"{% endif %}>{{ cell }}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table></div>
{% for note in table.notes %}
<p class="note">{{ note }}</p>
{% endfor %}
</div>
{% if table.charts %}
<div>
<div class="charts">{% for chart in table.charts %}{{ chart }}{% endfor %}</div>
{{ table.legend }}
</div>
{% endif %}
</div>
{% endfor %}
</section>
{% endfor %}
{% if hits %}
<section id="neighbours">
<h2>Nearest neighbours</h2>
<p>The five pictures with the most similar features (cosine), among {{ card.neighbours.gallery.shown }} of the {{
card.neighbours.gallery.of }} training pictures. Queries are drawn by chance from the validation pictures, of
different classes as far as there are such. ✓ and a green frame: the class of the query; ✗ and a red frame:
another.</p>
<p class="note">Of the class of their query: {% for name, text in hits.items() %}{{ name }}
({{ card.neighbours.models[name].feature }}) {{ text }}{{ '; ' if not loop.last }}{% endfor %}.</p>
<div class="queries">
{% for query in card.neighbours.queries %}
{% set number = loop.index0 %}
<article class="query">
<h3><img src="{{ query.path|thumbnail }}" alt="Query {{ loop.index }}: {{ query.label }}" title="{{ query.path }}">
{{ query.label }}</h3>
{% for name, found in card.neighbours.models.items() %}
<div class="row"><b>{{ name }}</b>
<ol class="found">
{% for each in found.rows[number] %}
<li class="{{ 'right' if each.correct else 'wrong' }}">
<img src="{{ each.path|thumbnail }}" alt="{{ each.label }}, {{ 'correct' if each.correct else 'wrong' }}"
title="{{ each.label }}, cosine {{ '%.3f'|format(each.cosine) }}">
{{ '✓' if each.correct else '✗' }} {{ each.label|breakable }}</li>
{% endfor %}
</ol></div>
{% endfor %}
</article>
{% endfor %}
</div>
</section>
{% endif %}
{% if attention %}
<section id="looks">
<h2>Attention pictures</h2>
<p>Where the last block looks, the mean over its heads: of [CLS], or, where there is none, of all patches. Bright is
much; each map is scaled from its own minimum to its maximum, so that brightness cannot be compared between maps.</p>
<div class="scroll"><table class="maps">
<thead><tr><th scope="col">input</th>
{% for name in attention.models %}
<th scope="col">{{ name }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for picture in attention.inputs %}
{% set number = loop.index0 %}
{% set label = card.neighbours.queries[number].label %}
<tr><td><img src="{{ picture }}" alt="Input: {{ label }}" title="{{ label }}"></td>
{% for name, maps in attention.models.items() %}
<td><img src="{{ maps[number] }}" alt="Attention of {{ name }} on: {{ label }}" title="{{ name }}: {{ label }}"></td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table></div>
</section>
{% endif %}
<section id="made">
<h2>How it was made</h2>
<h3>Checkpoints</h3>
<div class="scroll"><table class="facts">
<thead><tr>
{% for title in ('name', 'method', 'backbone', 'parameters', 'image size', 'config and checkpoint') %}
<th scope="col" class="short">{{ title }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for model in card.models %}
<tr><th scope="row">{{ model.name }}</th>
<td>{{ model.method }}</td>
<td>{{ model.backbone }}</td>
<td>{{ '{:,}'.format(model.parameters) }}</td>
<td>{{ model.image_size|join(' x ') }}</td>
<td><code>{{ model.config }}</code><br><code>{{ model.checkpoint }}</code><br>
<span class="soft">sha256 {{ model.sha256[:16] }}</span></td></tr>
{% endfor %}
</tbody>
</table></div>
<h3>Baselines</h3>
<p>{% if card.seeds %}Random init is the same model as its config initialises it, mean ± standard deviation over the
seeds {{ card.seeds|join(', ') }}. {% endif %}Raw pixels are the evaluation view itself, made small. A row “of” some
checkpoints belongs to their model alone. All models of a table read the same pictures.</p>
<h3>Protocols</h3>
<div class="scroll"><table class="facts">
<thead><tr>
{% for title in ('protocol', 'data', 'options', 'chance') %}
<th scope="col" class="short">{{ title }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for section in sections %}
<tr><th scope="row">{{ section.name }}</th>
<td><code>{{ section.root }}</code></td>
<td><code>{% for key, value in section.options.items() if value is not none %}{{ key }}={{ value }}{{
', ' if not loop.last }}{% endfor %}</code></td>
<td class="short">{{ '%.1f %%'|format(section.chance) if section.chance is number else '' }}</td></tr>
{% endfor %}
</tbody>
</table></div>
<h3>Versions</h3>
<p class="note">{% for name, version in card.versions.items() %}{{ name }} {{ version }}{{ ', ' if not loop.last }}
{% endfor %}</p>
</section>
</main>
<footer>All numbers of this page, and more, are in card.json beside it. It loads nothing from anywhere.</footer>
</body>
</html>
"""
