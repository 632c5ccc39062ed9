/** The tables of the embedded read model, and its statements. */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { bounded, openSqliteFile } from '../../eventstore/sqlite/file.ts'

/** The tables of version 1 had one generation; the documents are rebuilt. */
const SCHEMA = `
  DROP TABLE IF EXISTS customers;
  DROP TABLE IF EXISTS checkpoint;
  CREATE TABLE IF NOT EXISTS marks (id INTEGER PRIMARY KEY, revision INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS generations (number INTEGER PRIMARY KEY, live INTEGER NOT NULL) STRICT;
  INSERT OR IGNORE INTO generations SELECT 1, 1 WHERE NOT EXISTS (SELECT 1 FROM generations);
  CREATE TABLE IF NOT EXISTS documents (
    generation INTEGER NOT NULL,
    id INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (generation, id)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS checkpoints (
    generation INTEGER PRIMARY KEY,
    "commit" TEXT NOT NULL,
    prepare TEXT NOT NULL,
    origin TEXT NOT NULL,
    complete INTEGER NOT NULL
  ) STRICT;
  -- The events at the checkpoints, and the newest ones that documents reflect.
  CREATE TABLE IF NOT EXISTS places (
    generation INTEGER NOT NULL,
    kind TEXT NOT NULL,
    "commit" TEXT NOT NULL,
    prepare TEXT NOT NULL,
    id TEXT NOT NULL,
    stream TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (generation, kind)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS parked (
    generation INTEGER NOT NULL,
    customer INTEGER NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (generation, customer)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS owed_scrubs (id TEXT PRIMARY KEY) STRICT;
  CREATE TABLE IF NOT EXISTS incarnation (id TEXT NOT NULL) STRICT;
  INSERT INTO incarnation SELECT lower(hex(randomblob(16))) WHERE NOT EXISTS (SELECT 1 FROM incarnation);
`
const APPLICATION_ID = 0x43_75_52_6d // "CuRm"
const VERSION = 2

/** A larger number, which the driver throws for, would fail everybody who is read together. It becomes this one, which nothing has. */
export const LARGEST = Number.MAX_SAFE_INTEGER

export type Statements = ReturnType<typeof prepareStatements>

/**
 * Opens the file, creating it if it is missing.
 * @throws SqliteFileError for a file that is not a read model or can't be opened
 */
export function openReadModelFile(path: string): { readonly database: DatabaseSync; readonly sql: Statements } {
  const database = openSqliteFile(path, {
    kind: 'a read model',
    applicationId: APPLICATION_ID,
    version: VERSION,
    schema: SCHEMA,
    synchronous: 'NORMAL',
  })
  return { database, sql: prepareStatements(database) }
}

function prepareStatements(database: DatabaseSync) {
  return {
    begin: database.prepare('BEGIN'),
    commit: database.prepare('COMMIT'),
    live: database.prepare(`SELECT number FROM generations WHERE live = 1 AND number BETWEEN 1 AND ${LARGEST}`),
    generations: database.prepare(`SELECT number FROM generations WHERE number BETWEEN 1 AND ${LARGEST}`),
    addGeneration: database.prepare('INSERT OR IGNORE INTO generations VALUES (?, 0)'),
    switchGeneration: database.prepare('UPDATE generations SET live = number = ?'),
    /** Mark, and revision and text of the document of a generation that is complete: as an array, for queries wait. */
    entry: arrays(
      database.prepare(
        `SELECT ${bounded('marks.revision', -1)}, ${bounded('documents.revision', -1)}, document FROM (SELECT 1)
         LEFT JOIN marks ON marks.id = ?2
         LEFT JOIN documents ON generation = ?1 AND documents.id = ?2
           AND (SELECT complete FROM checkpoints WHERE generation = ?1) = 1`,
      ),
    ),
    document: database.prepare(
      `SELECT ${bounded('revision', -1)} AS revision, document FROM documents WHERE generation = ? AND id = ?`,
    ),
    revision: database.prepare(
      `SELECT ${bounded('revision', -1)} AS revision FROM documents WHERE generation = ? AND id = ?`,
    ),
    dropDocument: database.prepare('DELETE FROM documents WHERE generation = ? AND id = ?'),
    /** The number of documents in a sample, and the size of their texts. */
    lengths: database.prepare(
      `SELECT count(*) AS documents, sum(octet_length(document)) AS bytes FROM
       (SELECT document FROM documents WHERE generation = ? AND id > ? ORDER BY id LIMIT ?)`,
    ),
    ids: database.prepare(
      `SELECT id FROM documents WHERE generation = ? AND id > ? AND id <= ${LARGEST} ORDER BY id LIMIT ?`,
    ),
    differing: database.prepare(
      `SELECT value AS id FROM json_each(?1) WHERE
       (SELECT document FROM documents WHERE generation = ?2 AND id = value) IS NOT
       (SELECT document FROM documents WHERE generation = ?3 AND id = value)`,
    ),
    lacking: database.prepare(
      `SELECT value AS id FROM json_each(?1) WHERE
       NOT EXISTS (SELECT 1 FROM documents WHERE generation = ?2 AND id = value)`,
    ),
    forget: database.prepare(
      `DELETE FROM documents WHERE id IN (SELECT value FROM json_each(?)) AND generation <> ?
       AND CASE WHEN json_valid(document) THEN document ->> '$.status' IS NOT 'deleted' ELSE TRUE END`,
    ),
    acknowledge: database.prepare(
      `INSERT INTO marks VALUES (?, ?)
       ON CONFLICT (id) DO UPDATE SET
         revision = iif(revision > ${LARGEST}, excluded.revision, max(revision, excluded.revision))`,
    ),
    put: database.prepare(
      `INSERT INTO documents (generation, id, revision, document) VALUES (?, ?, ?, ?)
       ON CONFLICT (generation, id) DO UPDATE SET revision = excluded.revision, document = excluded.document`,
    ),
    checkpoint: database.prepare(
      'SELECT "commit", prepare, origin, complete = 1 AS complete FROM checkpoints WHERE generation = ?',
    ),
    setCheckpoint: database.prepare('INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?)'),
    park: database.prepare('INSERT OR REPLACE INTO parked VALUES (?, ?, ?)'),
    unpark: database.prepare('DELETE FROM parked WHERE generation = ? AND customer = ?'),
    parked: database.prepare('SELECT event FROM parked WHERE generation = ? ORDER BY customer'),
    distrust: database.prepare('UPDATE checkpoints SET complete = 0 WHERE generation = ?'),
    place: database.prepare(
      `SELECT "commit", prepare, id, stream, ${bounded('revision', -1)} AS revision FROM places
       WHERE generation = ? AND kind = ?`,
    ),
    setPlace: database.prepare('INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?, ?, ?, ?)'),
    dropCheckpoint: database.prepare('DELETE FROM checkpoints WHERE generation = ?'),
    dropPlaces: database.prepare('DELETE FROM places WHERE generation = ?'),
    dropParked: database.prepare('DELETE FROM parked WHERE generation = ?'),
    /** The last id of a range of that many documents that starts after an id; null if there is none. */
    rangeOfDocuments: database.prepare(
      `SELECT min(max(id), ${LARGEST}) AS last FROM
       (SELECT id FROM documents WHERE generation = ? AND id > ? ORDER BY id LIMIT ?)`,
    ),
    dropDocuments: database.prepare(
      `DELETE FROM documents WHERE generation = ? AND (id > ? AND id <= ? OR id > ${LARGEST})`,
    ),
    rangeOfMarks: database.prepare(
      `SELECT min(max(id), ${LARGEST}) AS last FROM (SELECT id FROM marks WHERE id > ? ORDER BY id LIMIT ?)`,
    ),
    dropMarks: database.prepare(`DELETE FROM marks WHERE id > ? AND id <= ? OR id > ${LARGEST}`),
    dropGeneration: database.prepare('DELETE FROM generations WHERE number = ?'),
    requestScrub: database.prepare('INSERT INTO owed_scrubs VALUES (?)'),
    pendingScrubs: database.prepare('SELECT id FROM owed_scrubs'),
    settleScrub: database.prepare('DELETE FROM owed_scrubs WHERE id = ?'),
    touch: database.prepare('UPDATE incarnation SET id = id'),
    ping: database.prepare('SELECT 1'),
  }
}

function arrays(statement: StatementSync): StatementSync {
  statement.setReturnArrays(true)
  return statement
}
