/**
 * A real RTSP server for tests and benches: GStreamer's, by the system's Python (Debian: gir1.2-gst-rtsp-server-1.0,
 * python3-gi, gstreamer1.0-plugins-good and -bad). It plays H.264 files in real time, once each connection's turn.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

const PYTHON = "/usr/bin/python3";

const SCRIPT = `
import gi, json, sys, time, threading, os
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer, GLib
Gst.init(None)
port, mounts = sys.argv[1], json.loads(sys.argv[2])
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1"); server.set_service(port)
def say(**what): print(json.dumps(what), flush=True)
def configured(factory, media, path):
    def state(m, s):
        e = m.get_element()
        def running():
            # running time 0 of this media, on the wall clock; the base time is set a little after the state
            base = e.get_base_time()
            if base == 0: return True
            ms = (Gst.SystemClock.obtain().get_time() - base) / 1e6
            say(mount=path, playingSinceMs=time.time() * 1000 - ms)
            return False
        if s == Gst.State.PLAYING: GLib.timeout_add(50, running)
    media.connect("new-state", state)
for path, file in mounts.items():
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch('( filesrc location="%s" ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )' % file)
    factory.set_shared(True)
    factory.connect("media-configure", configured, path)
    server.get_mount_points().add_factory(path, factory)
server.attach(None)
say(port=server.get_bound_port())
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()  # never outlives its starter
GLib.MainLoop().run()
`;

/** Why there is none on this machine, in one line; undefined: there is one. */
export function whyNoRtspServer(): string | undefined {
  const probe = spawnSync(PYTHON, ["-c", "import gi; gi.require_version('GstRtspServer', '1.0')"], {
    encoding: "utf8",
  });
  return probe.status === 0
    ? undefined
    : "GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0, python3-gi)";
}

export interface RtspServer {
  readonly port: number;
  url(mount: string): string;
  /** When the mount's newest playing began, ms since the epoch: the frame of time t was sent at this + t. */
  playingSinceMs(mount: string): number | undefined;
  /** SIGSTOP: connected, and silent. */
  freeze(): void;
  thaw(): void;
  /** SIGKILL. `restart` brings it back on the same port. */
  kill(): Promise<void>;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** `mounts`: path such as "/gate" to an MP4 with H.264. */
export async function startRtspServer(mounts: Record<string, string>): Promise<RtspServer> {
  const playing = new Map<string, number>();
  let running = await launch("0", mounts, playing);
  const { port } = running;
  const kill = async () => {
    if (running.child.exitCode !== null || running.child.signalCode !== null) return;
    running.child.kill("SIGKILL");
    await once(running.child, "exit");
  };
  return {
    port,
    url: (mount) => `rtsp://127.0.0.1:${port}${mount}`,
    playingSinceMs: (mount) => playing.get(mount),
    freeze: () => void running.child.kill("SIGSTOP"),
    thaw: () => void running.child.kill("SIGCONT"),
    kill,
    async restart() {
      await kill();
      running = await launch(String(port), mounts, playing);
    },
    stop: kill,
  };
}

async function launch(port: string, mounts: Record<string, string>, playing: Map<string, number>) {
  const child: ChildProcess = spawn(PYTHON, ["-c", SCRIPT, port, JSON.stringify(mounts)], {
    stdio: ["pipe", "pipe", process.env.TEST_LOG ? "inherit" : "ignore"],
  });
  const { stdout } = child;
  if (!stdout) throw new Error("no stdout");
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  createInterface({ input: stdout }).on("line", (line) => {
    const said = JSON.parse(line) as { port?: number; mount?: string; playingSinceMs?: number };
    if (said.port !== undefined) resolve(said.port);
    if (said.mount !== undefined && said.playingSinceMs !== undefined) playing.set(said.mount, said.playingSinceMs);
  });
  child.once("exit", (code) => reject(new Error(`the RTSP server ended with ${code}`)));
  return { child, port: await promise };
}
