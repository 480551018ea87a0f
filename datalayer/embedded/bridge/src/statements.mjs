// What the bridge must know about the text of a statement before the one shared session runs it.
import { statements } from './tokens.mjs'

const WORTH_READING =
  /copy|prepare|execute|deallocate|discard|listen|authorization|concurrently|database|client_encoding|names|set|temp|hold|advisory/i
export const SUPERUSER = 'postgres'
export const RESET_USER = `SET SESSION AUTHORIZATION ${SUPERUSER}` // RESET does not know whom to go back to in this build
const ONE_DATABASE = 'the embedded TimescaleDB has one database, which every database name reaches'
const ONLY_UTF8 = 'the embedded TimescaleDB supports only the UTF8 client encoding'
const CONCURRENT = [
  /^create (unique )?index concurrently /,
  /^drop index concurrently /,
  /^reindex (\( [^)]*\) )?(index|table|schema|database|system) concurrently /,
]

const nothingSpecial = () => ({
  plain: true, // the bridge has nothing to do when it runs
  copies: 0,
  binary: false,
  names: [], // identifiers of SQL-level prepared statements: {start, end, name}
  edits: [], // {start, end, text}
  actions: [], // the tags of statements that the bridge carries out itself
  listen: [], // {channel, on}
  settings: [], // custom settings, which PostgreSQL lists nowhere
  temporary: false,
  holds: false,
  locks: false, // takes advisory locks of the session
  acquires: false, // takes advisory locks of any kind
})

export const NOTHING_SPECIAL = Object.freeze(nothingSpecial())

export function analyse(sql) {
  if (!WORTH_READING.test(sql)) return NOTHING_SPECIAL
  const facts = nothingSpecial()
  facts.temporary = /\btemp(orary)?\b|\bpg_temp\b/i.test(sql)
  facts.holds = /\bwith\s+hold\b/i.test(sql)
  facts.locks = /\bpg_(try_)?advisory_lock/i.test(sql)
  facts.acquires = /\bpg_(try_)?advisory_(xact_)?lock/i.test(sql)
  facts.settings = [...sql.matchAll(/\b(?:set|session|local)\s+(\w+(?:\.\w+)+)|\bset_config\s*\(\s*'(\w+(?:\.\w+)+)'/gi)].map(
    (found) => (found[1] ?? found[2]).toLowerCase(),
  )
  for (const tokens of statements(sql)) examine(tokens, facts)
  facts.plain = !facts.copies && !facts.actions.length && !facts.listen.length && !facts.acquires
  return facts
}

/** The text with the edits done and the names of prepared statements made the client's own. */
export function rewrite(sql, facts, ownName) {
  const names = facts.names.map(({ start, end, name }) => ({ start, end, text: quote(ownName(name)) }))
  const edits = [...facts.edits, ...names].sort((a, b) => b.start - a.start)
  return edits.reduce((text, { start, end, text: by }) => text.slice(0, start) + by + text.slice(end), sql)
}

/** A statement that fails with this error: the backend then sets the state of the transaction itself. */
export function failing(code, text) {
  return `DO ${literal(`BEGIN RAISE EXCEPTION USING ERRCODE = ${literal(code)}, MESSAGE = ${literal(text)}; END`)}`
}

export const quote = (name) => `"${name.replaceAll('"', '""')}"`
export const literal = (text) =>
  text.includes('\\') ? `E'${text.replace(/[\\']/g, '\\$&')}'` : `'${text.replaceAll("'", "''")}'`

function examine(tokens, facts) {
  const words = tokens.slice(0, 40).map((token) => (token.kind === 'word' ? token.text.toLowerCase() : token.text))
  const examiner = EXAMINERS[words[0]]
  if (examiner) examiner(tokens, words, facts)
  const setting = words.indexOf('set_config')
  if (setting >= 0 && words[setting + 2] === "'client_encoding'" && !isUtf8(words[setting + 4])) fail(tokens, facts, ONLY_UTF8)
}

const EXAMINERS = {
  copy: copyIn,
  prepare: (tokens, words, facts) => words[1] !== 'transaction' && nameAt(tokens, 1, facts),
  execute: (tokens, words, facts) => nameAt(tokens, 1, facts),
  explain: (tokens, words, facts) => nameAt(tokens, words.indexOf('execute') + 1, facts),
  deallocate,
  discard,
  listen: (tokens, words, facts) => facts.listen.push({ channel: identifier(tokens[1]), on: true }),
  unlisten: (tokens, words, facts) => facts.listen.push({ channel: identifier(tokens[1]), on: false }),
  set: (tokens, words, facts) => {
    clientEncoding(tokens, words, facts)
    resetUser(tokens, words, facts)
  },
  reset: resetUser,
  create,
  drop: notConcurrently,
  reindex: notConcurrently,
  alter: database,
}

function copyIn(tokens, words, facts) {
  if (words[1] === '(') return
  const from = tokens.findIndex((token, i) => isWord(token, 'from') && isWord(tokens[i + 1], 'stdin'))
  if (from < 0) return
  facts.copies++
  facts.binary = tokens.slice(from).some((token) => /^['"]?binary['"]?$/i.test(token.text)) || words[1] === 'binary'
}

function deallocate(tokens, words, facts) {
  const at = words[1] === 'prepare' && tokens.length > 2 ? 2 : 1
  if (words[at] === 'all') replace(tokens, facts, 'DEALLOCATE ALL')
  else nameAt(tokens, at, facts)
}

function discard(tokens, words, facts) {
  if (words[1] === 'all') replace(tokens, facts, 'DISCARD ALL')
  else if (/^temp(orary)?$/.test(words[1])) replace(tokens, facts, 'DISCARD TEMP')
}

function create(tokens, words, facts) {
  notConcurrently(tokens, words, facts)
  database(tokens, words, facts)
  const execute = words.indexOf('execute')
  if (words.includes('table') && words[execute - 1] === 'as') nameAt(tokens, execute + 1, facts)
}

function database(tokens, words, facts) {
  const harmless = words[0] === 'alter' && !words.includes('rename')
  if (words[1] === 'database' && !harmless) fail(tokens, facts, ONE_DATABASE)
}

/** CONCURRENTLY waits for transactions of other sessions and leaves an index that nobody can drop. */
function notConcurrently(tokens, words, facts) {
  if (words[0] === 'drop') database(tokens, words, facts)
  if (!CONCURRENT.some((pattern) => pattern.test(words.join(' ') + ' '))) return
  const { start, end } = tokens[words.indexOf('concurrently')]
  facts.edits.push({ start, end, text: ' '.repeat(end - start) })
}

function resetUser(tokens, words, facts) {
  if (!/^(reset session authorization|set session authorization default)$/.test(words.join(' '))) return
  facts.edits.push({ ...span(tokens), text: RESET_USER })
}

/** Any other encoding crashes this build. */
function clientEncoding(tokens, words, facts) {
  const at = /^(session|local)$/.test(words[1]) ? 2 : 1
  if (words[at] !== 'names' && words[at] !== 'client_encoding') return
  if (!isUtf8(words[words[at] === 'names' ? at + 1 : at + 2])) fail(tokens, facts, ONLY_UTF8)
}

const isUtf8 = (value) => !value || /^['"]?(utf-?8|unicode|default)['"]?$/i.test(value)

function nameAt(tokens, at, facts) {
  const token = tokens[at]
  if (at < 1 || !/^(word|quoted)$/.test(token?.kind)) return
  facts.names.push({ start: token.start, end: token.end, name: identifier(token) })
}

function identifier(token) {
  if (token?.kind === 'quoted') return token.text.slice(1, -1).replaceAll('""', '"')
  return token?.text.toLowerCase() ?? ''
}

/** DO 'BEGIN END' stands in for a statement of the bridge's own: it has no result and fails in a failed transaction. */
function replace(tokens, facts, tag) {
  facts.edits.push({ ...span(tokens), text: "DO 'BEGIN END'" })
  facts.actions.push(tag)
}

const fail = (tokens, facts, text) => facts.edits.push({ ...span(tokens), text: failing('0A000', text) })
const span = (tokens) => ({ start: tokens[0].start, end: tokens.at(-1).end })
const isWord = (token, text) => token?.kind === 'word' && token.text.toLowerCase() === text
