// PouchDB's server in Cloudant's place, on 127.0.0.1: node couchdb.mjs PORT FOLDER [USER:PASSWORD [TOKEN [LIMIT]]].
// What Cloudant has and it has not is here, after CouchDB's documentation (docs.couchdb.org) and, where that is silent,
// its source (github.com/apache/couchdb).
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

import expressPouchDb from "express-pouchdb";
import PouchDB from "pouchdb";

const [port, folder, login = "", token = "", limit = Infinity] = process.argv.slice(2);
const Databases = PouchDB.defaults({ prefix: join(folder, "/") });
// Its full mode writes a configuration and a log, and has logins that one cannot set from outside.
const app = expressPouchDb({ mode: "minimumForPouchDB" });
await app.setPouchDB(Databases);

const basic = login && `Basic ${Buffer.from(login).toString("base64")}`;
const allowed = [basic, token && `Bearer ${token}`].filter(Boolean);
const mark = (name) => join(folder, `${name}.partitioned`);

const opened = new Map();
Databases.on("destroyed", (name) => opened.delete(name));
function open(name) {
  if (!opened.has(name)) opened.set(name, new Databases(name));
  return opened.get(name);
}

// PUT /{db}, api/database/common. One at a time: of two at once, PouchDB's server answers 201 to both. And answered
// when the name is on the list of databases, or else it is not on it after a kill. CouchDB's names may hold a slash.
let creations = Promise.resolve();
function create(name, partitioned) {
  creations = creations.then(async () => {
    if (!/^[a-z][a-z0-9_$()+-]*$/.test(name)) return [400, "illegal_database_name", `Name: '${name}'.`];
    const names = await Databases.allDbs();
    if (names.includes(name)) return [412, "file_exists", "The file already exists."];
    // cloud.ibm.com/docs/Cloudant?topic=Cloudant-deprecations-for-ibm-cloudant, which does not have the words.
    if (names.length >= limit) return [403, "forbidden", "The limit of databases is reached."];
    if (partitioned) writeFileSync(mark(name), "");
    else rmSync(mark(name), { force: true });
    await open(name).info();
    await Databases.allDbs();
    return [201];
  });
  return creations;
}

// GET /_all_dbs, api/server/common: in order, within bounds.
async function list({ start_key: start, end_key: end, descending, skip = 0, limit = Infinity }) {
  const [low, high] = descending === "true" ? [end, start] : [start, end];
  const names = (await Databases.allDbs()).filter((name) => !(name < low) && !(name > high)).sort();
  return (descending === "true" ? names.reverse() : names).slice(Number(skip), Number(skip) + Number(limit));
}

// GET /{db}/_changes, api/database/changes: places in the sequence are strings that only the server understands, and
// `pending` says how many changes follow.
async function changes(db, { since = "0", limit = Infinity, include_docs, descending }) {
  const from = since === "now" ? since : Number.parseInt(since);
  if (Number.isNaN(from)) return [400, "bad_request", "Malformed sequence supplied in 'since' parameter."];
  const options = { since: from, include_docs: include_docs === "true", descending: descending === "true" };
  const { results, last_seq } = await db.changes(options);
  const page = results.slice(0, Math.max(limit, 1)).map((row) => ({ ...row, seq: `${row.seq}-g1AAAA` }));
  const last = page.at(-1)?.seq ?? `${last_seq}-g1AAAA`;
  return [200, { results: page, last_seq: last, pending: results.length - page.length }];
}

// /{db}/_all_docs, and /{db}/_partition/{partition}/_all_docs, api/partitioned-dbs, whose bounds are those of
// couch_partition.erl, held as couch_mrview_util.erl does. Counted as on IBM's page
// cloud.ibm.com/docs/Cloudant?topic=Cloudant-usage-and-charges: a partition by rows and documents, the others by request.
const counts = { reads: 0, global_queries: 0 };
async function documents(db, { start_key: start, end_key: end, ...query }, partition) {
  const is = (name) => String(query[name]) === "true";
  const options = { descending: is("descending"), include_docs: is("include_docs"), skip: Number(query.skip ?? 0) };
  options.inclusive_end = String(query.inclusive_end) !== "false";
  if (query.limit !== undefined) options.limit = Number(query.limit);
  if (partition) {
    const [low, high] = [`${partition}:`, `${partition};`];
    const [first, last] = options.descending ? [high, low] : [low, high];
    const within = (key) => (key < low ? low : key > high ? high : key);
    [start, end] = [within(start ?? first), within(end ?? last)];
  }
  if (start !== undefined) options.startkey = start;
  if (end !== undefined) options.endkey = end;
  const found = await db.allDocs(options);
  const rows = found.rows.length;
  if (partition) counts.reads += Math.max(1, Math.ceil(rows / 100)) + (options.include_docs ? rows : 0);
  else counts.global_queries += 1;
  return [200, found];
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  return JSON.parse(request.headers["content-encoding"] === "gzip" ? gunzipSync(bytes) : bytes);
}

// What is answered here, as status and document or error and reason; or nothing, and then PouchDB's server answers.
async function answer(request) {
  if (allowed.length && !allowed.includes(request.headers.authorization)) {
    return [401, "unauthorized", "Name or password is incorrect."];
  }
  const [path, search] = request.url.split("?");
  if (path === "/_api/v2/user/capacity/databases" && limit < Infinity) {
    return [200, { current: { databases: { total: Number(limit) } } }];
  }
  if (path === "/_api/v2/user/current/databases" && limit < Infinity) {
    return [200, { databases: { total: (await Databases.allDbs()).length } }];
  }
  // Of the stand-in alone: what has been counted so far.
  if (path === "/_counts") return [200, counts];
  const [name, ...rest] = path.slice(1).split("/").map(decodeURIComponent);
  // The keys have two spellings, api/ddoc/views.
  const query = {};
  for (const [parameter, value] of new URLSearchParams(search)) {
    const [, bound] = /^(start|end)_?key$/.exec(parameter) ?? [];
    query[bound ? `${bound}_key` : parameter] = bound ? JSON.parse(value) : value;
  }
  const route = `${request.method} ${rest.length > 1 || rest[0]?.startsWith("_") ? rest[0] : rest.length}`;
  if (route === "PUT 0") return create(name, query.partitioned === "true");
  if (route === "GET 0" && name === "_all_dbs") return [200, await list(query)];
  if (!(await Databases.allDbs()).includes(name)) return;
  const partitioned = existsSync(mark(name));
  if (["GET _changes", "POST _changes"].includes(route) && !query.feed) return changes(open(name), query);
  // IBM's SDK posts what its options are.
  if (route === "POST _all_docs") return documents(open(name), await body(request));
  if (/^(GET|POST) _partition$/.test(route) && rest[2] === "_all_docs") {
    if (!partitioned) return [400, "bad_request", "database is not partitioned"];
    return documents(open(name), request.method === "GET" ? query : await body(request), rest[1]);
  }
  if (route === "PUT 1" && partitioned && !/^[^:]+:./s.test(rest[0])) {
    // From couch_partition.erl.
    return [400, "illegal_docid", "Doc id must be of form partition:id"];
  }
}

createServer(async (request, response) => {
  const found = await answer(request).catch((error) => [400, "bad_request", String(error)]);
  if (!found) return app(request, response);
  const [status, document = { ok: true }, reason] = found;
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(JSON.stringify(reason ? { error: document, reason } : document));
}).listen(Number(port), "127.0.0.1");
