// A lexer for PostgreSQL's SQL, just deep enough never to mistake a literal or a comment for a command.

const SPACE = /(?:\s+|--[^\n\r]*)+/y
const WORD = /[a-z_\u0080-\uffff][\w$\u0080-\uffff]*/iy
const QUOTED = /"(?:[^"]|"")*"/y
const ESCAPED = /e'(?:[^'\\]|\\[^]|'')*'/iy
const STRING = /(?:[bxn]|u&)?'(?:[^']|'')*'/iy
const DOLLAR = /\$(?:[a-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/iy
const PARAMETER = /\$?\d[\w.]*/y
const LITERALS = [ESCAPED, STRING]

/** Statements as lists of tokens {kind, text, start, end}: word, quoted, string or symbol. */
export function statements(sql) {
  const list = [[]]
  let depth = 0
  for (const token of tokens(sql)) {
    if (token.text === '(') depth++
    else if (token.text === ')') depth--
    if (token.text === ';' && depth <= 0) list.push([])
    else list.at(-1).push(token)
  }
  return list.filter((statement) => statement.length)
}

function* tokens(sql) {
  for (let at = skipSpace(sql, 0); at < sql.length; ) {
    const [kind, end] = scan(sql, at)
    yield { kind, text: sql.slice(at, end), start: at, end }
    at = skipSpace(sql, end)
  }
}

function scan(sql, at) {
  const end = LITERALS.reduce((found, pattern) => found || matchEnd(pattern, sql, at), 0) || dollarEnd(sql, at)
  if (end) return ['string', end]
  const quoted = matchEnd(QUOTED, sql, at)
  if (quoted) return ['quoted', quoted]
  const word = matchEnd(WORD, sql, at)
  if (word) return ['word', word]
  return ['symbol', matchEnd(PARAMETER, sql, at) || at + 1]
}

function dollarEnd(sql, at) {
  const open = matchEnd(DOLLAR, sql, at)
  if (!open) return 0
  const close = sql.indexOf(sql.slice(at, open), open)
  return close < 0 ? sql.length : close + open - at
}

function skipSpace(sql, at) {
  for (let from = -1; from !== at; ) {
    from = at
    at = matchEnd(SPACE, sql, at) || at
    if (sql.startsWith('/*', at)) at = commentEnd(sql, at)
  }
  return at
}

/** Block comments nest. */
function commentEnd(sql, at) {
  const mark = /\/\*|\*\//g
  mark.lastIndex = at
  for (let depth = 0, found; (found = mark.exec(sql)); ) {
    depth += found[0] === '/*' ? 1 : -1
    if (!depth) return mark.lastIndex
  }
  return sql.length
}

function matchEnd(pattern, text, at) {
  pattern.lastIndex = at
  return pattern.test(text) ? pattern.lastIndex : 0
}
