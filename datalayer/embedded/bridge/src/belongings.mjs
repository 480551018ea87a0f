// What a client leaves in the shared session and PostgreSQL would have dropped with its own: temporary tables, held cursors.

const KINDS = {
  temporary: {
    list: `SELECT c.oid::text, CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END || ' ' || c.oid::regclass
           FROM pg_class c WHERE relnamespace = pg_my_temp_schema() AND relkind IN ('r', 'p', 'v', 'S')`,
    drop: (object) => `DROP ${object.replace(' ', ' IF EXISTS ')} CASCADE`,
  },
  holds: {
    list: 'SELECT quote_ident(name), quote_ident(name) FROM pg_cursors WHERE is_holdable',
    drop: (name) => `CLOSE ${name}`,
  },
}

export class Belongings {
  #owners = new Map(Object.keys(KINDS).map((kind) => [kind, new Map()]))

  constructor(backend) {
    this.backend = backend
  }

  /** Books what is new since the last look to `client`, which ran statements that may have made it. */
  book(client) {
    for (const kind of Object.keys(KINDS)) {
      if (!client.made[kind]) continue
      const owners = this.#owners.get(kind)
      const keys = this.#list(kind).map(([key]) => key)
      for (const key of owners.keys()) if (!keys.includes(key)) owners.delete(key)
      for (const key of keys) if (!owners.has(key)) owners.set(key, client.id)
      client.made[kind] = false
    }
  }

  drop(client, kinds = Object.keys(KINDS)) {
    this.book(client)
    for (const kind of kinds) {
      const owners = this.#owners.get(kind)
      if (![...owners.values()].includes(client.id)) continue
      for (const [key, object] of this.#list(kind)) if (owners.get(key) === client.id) this.#drop(kind, object)
    }
  }

  #drop(kind, object) {
    try {
      this.backend.query(KINDS[kind].drop(object))
    } catch (error) {
      if (!error.code?.startsWith('42') && error.code !== '34000') throw error // went with another one
    }
  }

  #list(kind) {
    return this.backend.query(KINDS[kind].list)
  }
}
