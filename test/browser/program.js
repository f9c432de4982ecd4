// The program under test, as a process: started, stopped and called as its users do.
import { execFile, spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** patience is how long what needs milliseconds may take, on a machine that is busy. */
export const patience = 180_000;

/** until asks again and again until the answer is true. */
export async function until(what, ask) {
  for (const end = Date.now() + patience; ; await new Promise((r) => setTimeout(r, 50))) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error("in vain waited for: " + what);
  }
}

/** freePort is a port that nobody listens at now. */
function freePort() {
  return new Promise((resolve, reject) => {
    const s = net.createServer();
    s.once("error", reject).listen(0, "127.0.0.1", () => {
      const { port } = s.address();
      s.close(() => resolve(port));
    });
  });
}

/** Server is "openimds serve" on a data directory. */
export class Server {
  constructor(dataDir, defaultInstance = "demo", ...flags) {
    this.dataDir = dataDir;
    this.defaultInstance = defaultInstance;
    this.flags = flags;
    this.imds = this.api = "127.0.0.1:0";
    this.log = "";
    this.begun = [];
  }

  /** start begins, at the addresses of before if there were any. */
  async start() {
    // Between a stop and the next start somebody else may take a port for a moment.
    if (this.api.endsWith(":0")) this.api = "127.0.0.1:" + (await freePort());
    await until("openimds serve", () => this.#begin());
    this.url = "http://" + this.api;
  }

  async #begin() {
    const ready = path.join(this.dataDir, "..", path.basename(this.dataDir) + ".ready");
    fs.rmSync(ready, { force: true });
    const args = ["serve", "--data-dir", this.dataDir, "--ready-file", ready, "--imds-listen", this.imds, "--api-listen", this.api, "--default-instance", this.defaultInstance, ...this.flags];
    const process = spawn("openimds", args, { stdio: ["ignore", "pipe", "pipe"] });
    process.stdout.on("data", (d) => (this.log += d));
    process.stderr.on("data", (d) => (this.log += d));
    this.ended = new Promise((resolve) => process.once("exit", (code) => resolve(code ?? -1)));
    this.process = process;
    let code;
    void this.ended.then((c) => (code = c));
    const up = await until("the ready file\n" + this.log, () => code !== undefined || (fs.existsSync(ready) && fs.readFileSync(ready, "utf8").includes("api=")));
    if (code !== undefined || !up) return false;
    this.imds = /^imds=(.*)$/m.exec(fs.readFileSync(ready, "utf8"))[1];
    return true;
  }

  async stop() {
    for (const begun of this.begun) begun.kill("SIGKILL");
    this.process.kill("SIGINT");
    const code = await this.ended;
    if (code !== 0) throw new Error(`openimds serve ended with ${code}:\n${this.log}`);
  }

  /** key is an access key of the data directory's credentials. */
  key(profile = "default") {
    const text = fs.readFileSync(path.join(this.dataDir, "credentials"), "utf8");
    const part = text.split(/^\[/m).find((p) => p.startsWith(profile + "]"));
    const get = (name) => new RegExp(`^${name}\\s*=\\s*(\\S+)`, "m").exec(part)[1];
    return { id: get("aws_access_key_id"), secret: get("aws_secret_access_key") };
  }

  /** command runs the command line against this server. */
  async command(...args) {
    const { stdout } = await run("openimds", [...args, "--data-dir", this.dataDir], { timeout: patience });
    return stdout;
  }

  /** begin starts the command line against this server, and goes on; said is what it has printed. */
  begin(...args) {
    const begun = spawn("openimds", [...args, "--data-dir", this.dataDir], { stdio: ["ignore", "pipe", "pipe"] });
    begun.said = "";
    for (const out of [begun.stdout, begun.stderr]) out.on("data", (d) => (begun.said += d));
    begun.ended = new Promise((resolve) => begun.once("exit", (code, signal) => resolve(code ?? signal)));
    this.begun.push(begun);
    return begun;
  }

  /** offline runs the command line by itself. */
  async offline(...args) {
    const { stdout } = await run("openimds", args, { timeout: patience });
    return stdout;
  }

  /** get asks as a guest does, with or without a session token, and returns the status. */
  async get(at, { agent = "guest/1.0", token = false } = {}) {
    const headers = { "User-Agent": agent };
    if (token) {
      const made = await fetch(`http://${this.imds}/latest/api/token`, { method: "PUT", headers: { ...headers, "X-aws-ec2-metadata-token-ttl-seconds": "60" } });
      headers["X-aws-ec2-metadata-token"] = await made.text();
    }
    const answer = await fetch(`http://${this.imds}/${at}`, { headers });
    await answer.arrayBuffer();
    return answer.status;
  }
}
