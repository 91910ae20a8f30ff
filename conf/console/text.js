/*
 * Shows a model's text: paragraphs, headings, lists, quotes, tables, code, and in a line code, bold, italic, links.
 * Every node is made by hand and filled with textContent, so nothing in the text can become markup or script.
 */

const DEPTH_MAX = 6;                // of lists in lists and of marks in marks

const el = (name, className) => {
    const node = document.createElement(name);
    if (className) node.className = className;
    return node;
};

/* ---- within a line ---- */

/* Each part is bounded, so that no text makes it slow. */
const MARKS = new RegExp([
    /(`+)([^`]|[^`].{0,2000}?[^`])\1(?!`)/,                                 // 1, 2: code
    /\*\*(?=\S)(.{1,2000}?)(?<=\S)\*\*/,                                    // 3: bold
    /(?<![\w*])\*(?=[^\s*])([^*\n]{0,1000}[^\s*])\*(?![\w*])/,              // 4: italic
    /(?<!\w)_(?=[^\s_])([^_\n]{0,1000}[^\s_])_(?!\w)/,                      // 5: italic
    /\[([^\]\n]{1,500})\]\((https?:\/\/[^\s()]{1,2000})\)/,                 // 6, 7: link
    /(https?:\/\/[^\s<>"'`]{0,2000}[^\s<>"'`.,;:!?)\]])/,                   // 8: address
].map((x) => x.source).join('|'), 'gs');

function link(href, depth, label) {
    const a = el('a');
    a.href = href;                  // https?: only, by the pattern
    a.rel = 'noopener noreferrer';
    a.target = '_blank';
    if (label) inline(a, label, depth + 1);
    else a.textContent = href;
    return a;
}

function marked(name, text, depth) {
    const node = el(name);
    inline(node, text, depth + 1);
    return node;
}

export function inline(parent, text, depth = 0) {
    let at = 0;
    if (depth < DEPTH_MAX) {
        for (const m of text.matchAll(MARKS)) {
            parent.append(text.slice(at, m.index));
            at = m.index + m[0].length;
            if (m[1]) parent.append(Object.assign(el('code'), { textContent: m[2] }));
            else if (m[3]) parent.append(marked('strong', m[3], depth));
            else if (m[4] ?? m[5]) parent.append(marked('em', m[4] ?? m[5], depth));
            else parent.append(m[7] ? link(m[7], depth, m[6]) : link(m[8], depth));
        }
    }
    parent.append(text.slice(at));
}

/* ---- blocks ---- */

const FENCE = /^(\s*)(`{3,}|~{3,})\s*([^`\s]*)[^`]*$/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}> ?/;
const RULE = /^ {0,3}([-*_])( *\1){2,} *$/;
const TABLE_RULE = /^ *\|? *:?-+:? *(\| *:?-+:? *)*\|? *$/;

function kindOf(lines, i) {
    const l = lines[i];
    if (FENCE.test(l)) return 'code';
    if (RULE.test(l)) return 'rule';
    if (HEADING.test(l)) return 'heading';
    if (ITEM.test(l)) return 'list';
    if (QUOTE.test(l)) return 'quote';
    if (l.includes('|') && i + 1 < lines.length && lines[i + 1].includes('-') && TABLE_RULE.test(lines[i + 1])
        && lines[i + 1].includes('|')) return 'table';
    return 'text';
}

/* The end of the block that begins at line i. */
function endOf(kind, lines, i) {
    const blank = (j) => lines[j].trim() === '';
    let j = i + 1;
    switch (kind) {
    case 'code': {
        const close = new RegExp(`^\\s*${FENCE.exec(lines[i])[2]}`);
        while (j < lines.length && !close.test(lines[j])) j++;
        return Math.min(j + 1, lines.length);
    }
    case 'rule': case 'heading':
        return j;
    case 'list':
        while (j < lines.length && !FENCE.test(lines[j]) && (ITEM.test(lines[j]) || /^\s+\S/.test(lines[j])
               || (blank(j) && j + 1 < lines.length && (ITEM.test(lines[j + 1]) || /^\s{2,}\S/.test(lines[j + 1]))))) j++;
        return j;
    case 'quote':
        while (j < lines.length && QUOTE.test(lines[j])) j++;
        return j;
    case 'table':
        while (j < lines.length && lines[j].includes('|')) j++;
        return j;
    default:
        while (j < lines.length && !blank(j) && kindOf(lines, j) === 'text') j++;
        return j;
    }
}

/* [{kind, source}] of a text. */
export function blocks(text) {
    const lines = text.replace(/\r\n?/g, '\n').split('\n');
    const found = [];
    for (let i = 0; i < lines.length;) {
        if (lines[i].trim() === '') {
            i++;
            continue;
        }
        const kind = kindOf(lines, i), end = endOf(kind, lines, i);
        found.push({ kind, source: lines.slice(i, end).join('\n') });
        i = end;
    }
    return found;
}

function code(source) {
    const lines = source.split('\n');
    const [, indent, fence, language] = FENCE.exec(lines.shift());
    if (lines.length && lines.at(-1).trim().startsWith(fence)) lines.pop();
    const box = el('div', 'code'), head = el('div', 'code-head'), pre = el('pre');
    head.append(Object.assign(el('span'), { textContent: language || 'text' }));
    if (navigator.clipboard) {
        const copy = Object.assign(el('button', 'quiet'), { type: 'button', textContent: 'Copy' });
        copy.addEventListener('click', async () => {
            await navigator.clipboard.writeText(pre.textContent);
            copy.textContent = 'Copied';
        });
        head.append(copy);
    }
    pre.tabIndex = 0;               // so that the keyboard can scroll it
    pre.append(Object.assign(el('code'), { textContent: lines.map((l) => l.startsWith(indent) ? l.slice(indent.length) : l).join('\n') }));
    box.append(head, pre);
    return box;
}

function list(source) {
    const root = el('div');
    const open = [];                // {indent, list, item}
    for (const line of source.split('\n')) {
        const m = ITEM.exec(line);
        if (!m) {
            if (line.trim() !== '') {
                const item = open.at(-1).item;
                item.append('\n');
                inline(item, line.trim());
            }
            continue;
        }
        const indent = m[1].replace(/\t/g, '    ').length;
        while (open.length && (indent < open.at(-1).indent || open.length > DEPTH_MAX)) open.pop();
        if (!open.length || indent > open.at(-1).indent + 1) {
            const node = el(/\d/.test(m[2]) ? 'ol' : 'ul');
            if (node.nodeName === 'OL' && parseInt(m[2], 10) !== 1) node.start = parseInt(m[2], 10);
            (open.at(-1)?.item ?? root).append(node);
            open.push({ indent, list: node });
        }
        const item = el('li');
        inline(item, m[3]);
        open.at(-1).list.append(item);
        open.at(-1).item = item;
    }
    return root.childNodes.length === 1 ? root.firstChild : root;
}

function table(source) {
    const cells = (l) => l.trim().replace(/^\||\|$/g, '').split('|').map((c) => c.trim());
    const [head, , ...rows] = source.split('\n');
    const box = el('div', 'table'), node = el('table'), top = node.createTHead().insertRow();
    for (const c of cells(head)) {
        const th = el('th');
        th.scope = 'col';
        inline(th, c);
        top.append(th);
    }
    const body = node.createTBody();
    for (const r of rows) {
        const row = body.insertRow();
        for (const c of cells(r)) inline(row.insertCell(), c);
    }
    box.append(node);
    return box;
}

const BUILD = {
    code, list, table,
    rule: () => el('hr'),
    /* The page has h1 and h2, a turn h3. */
    heading: (source) => {
        const [, level, text] = HEADING.exec(source);
        return marked(level.length < 3 ? 'h4' : 'h5', text, 0);
    },
    quote: (source) => marked('blockquote', source.split('\n').map((l) => l.replace(QUOTE, '')).join('\n'), 0),
    text: (source) => marked('p', source, 0),
};

/* Makes `parent` show `text`. Blocks that have not changed keep their nodes: a stream touches the last one only. */
export function show(parent, text) {
    const before = parent.siBlocks ?? [], now = blocks(text);
    let i = 0;
    while (i < now.length && i < before.length && now[i].kind === before[i].kind && now[i].source === before[i].source) i++;
    while (parent.childNodes.length > i) parent.lastChild.remove();
    for (const b of now.slice(i)) parent.append(BUILD[b.kind](b.source));
    parent.siBlocks = now;
}
