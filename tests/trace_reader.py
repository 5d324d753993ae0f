"""A second reader of traces, for test_trace.c: python3 tests/trace_reader.py FILE batches=B steps=S [own] [partial] [NAME... | -NAME...]
Reads the file as Python does, with exact decimals, and checks: events are what Chrome's format says; nothing on a track overlaps
something else in part; every batch is there with all its steps, each with its work, on the caller's track and on the device's; the
seconds of every name by itself are those that the file says. B: batches, 0: none; S: steps of each. own: the device has a track of its own
clock. partial: the last batch may have ended early. NAME: there is such a span; -NAME: there is none. Prints what is wrong, then how
many checks passed and failed; the exit status is 1 when one failed."""
import json
import sys
from collections import Counter, defaultdict
from decimal import Decimal

passed = failed = 0


def check(ok, text):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        if failed <= 10:
            print("FAIL " + text)
    return ok


class Span:
    def __init__(self, event):
        self.name, self.number = event["name"], event.get("args", {}).get("number")
        self.begin = Decimal(event["ts"])
        self.end = self.begin + Decimal(event["dur"])
        self.inside, self.around = [], None

    def alone(self):
        return self.end - self.begin - sum((x.end - x.begin for x in self.inside), Decimal(0))

    def all(self, name):
        found = [self] if self.name == name else []
        for x in self.inside:
            found += x.all(name)
        return found


def nest(track, spans):
    """The outermost spans of a track, with what is inside them. In the file a span comes after what is around it."""
    outermost, open_spans = [], []
    for x in spans:
        while open_spans and x.begin >= open_spans[-1].end and not (x.begin == x.end == open_spans[-1].end):
            open_spans.pop()
        if open_spans:
            around = open_spans[-1]
            check(x.begin >= around.begin and x.end <= around.end, "%s: %s at %s overlaps %s in part" % (track, x.name, x.begin, around.name))
            x.around = around
            around.inside.append(x)
        else:
            outermost.append(x)
        open_spans.append(x)
    return outermost


def events_of(trace):
    tracks, names, processes = defaultdict(list), {}, {}
    for e in trace["traceEvents"]:
        key = e["pid"], e["tid"]
        if e["ph"] == "M":
            (processes if e["name"] == "process_name" else names)[e["pid"] if e["name"] == "process_name" else key] = e["args"]["name"]
            continue
        if check(e["ph"] == "X" and Decimal(e["ts"]) >= 0 and Decimal(e["dur"]) >= 0, "an event %s" % e):
            tracks[key].append(Span(e))
    for key in tracks:
        check(key in names and key[0] in processes, "track %s has no name" % (key,))
    return tracks, names, processes


def check_steps(batch, steps, partial, what):
    numbers = [x.number for x in batch.all("step")]
    check(numbers == list(range(len(numbers))) and (len(numbers) == steps or partial and len(numbers) <= steps),
          "%s %s has the steps %s" % (what, batch.number, numbers))
    for x in batch.all("step"):
        work = x.all("work")
        check(work and all(w.number == x.number for w in work), "step %s has the work %s" % (x.number, [w.number for w in work]))
    check(len(batch.all("latents")) == 1, "%s %s has no latents" % (what, batch.number))


def main():
    given = sys.argv[2:]
    option = dict(x.split("=") for x in given if "=" in x)
    words = [x for x in given if "=" not in x]
    own, partial = "own" in words, "partial" in words
    batches, steps = int(option["batches"]), int(option["steps"])
    with open(sys.argv[1]) as f:
        trace = json.load(f, parse_float=Decimal)
    tracks, names, processes = events_of(trace)
    roots = {key: nest(names.get(key), tracks[key]) for key in tracks}
    host = {key: names[key] for key in tracks if processes[key[0]].startswith("dg_cuda ")}
    device = {key: names[key] for key in tracks if processes[key[0]].startswith("device ")}
    for name, thread in (("write", "writer"), ("hash", "hash"), ("batch", "main"), ("step", "main")):
        where = {host[key] for key in host for x in tracks[key] if x.name == name}
        check(where <= {thread}, "%s is done by %s" % (name, sorted(where)))
    main_key = [k for k, v in host.items() if v == "main"]
    if not check(len(main_key) == 1 and set(host) | set(device) == set(tracks), "tracks %s" % names):
        return
    # every batch, with its steps
    found = [b for r in roots[main_key[0]] for b in r.all("batch")]
    check([b.number for b in found] == list(range(len(found))) and (len(found) == batches or partial and 0 < len(found)),
          "the batches %s, of %d" % ([b.number for b in found], batches))
    for b in found:
        check_steps(b, steps, partial and b is found[-1], "batch")
    # the device's work: as often as the host asked for it
    asked = Counter(x.number for x in tracks[main_key[0]] if x.name == "work")
    done = Counter(x.number for key in device for x in tracks[key] if x.name == "work")
    check(asked == done and sum(done.values()) > 0, "work was asked for as %s and done as %s" % (asked, done))
    check(all((v == "stream") == own for v in device.values()) and len(device) == 1, "the device's tracks %s" % device)
    # the seconds of each name by itself
    totals, left_out = trace["otherData"]["seconds"], trace["otherData"]["left_out"]
    for key in tracks:
        if key in device and not own:
            continue
        said = totals["%d %s" % (key[1], "device" if key in device else names[key])]
        alone, count = defaultdict(Decimal), Counter(x.name for x in tracks[key])
        for x in tracks[key]:
            alone[x.name] += x.alone()
        for name in set(said) | set(count):
            check(left_out or said[name]["count"] == count[name], "%s: %s %s times" % (names[key], name, count[name]))
            check(left_out or abs(said[name]["seconds"] - alone[name] / 1000000) < Decimal("2e-9"),
                  "%s: %s takes %s us by itself, %s s are said" % (names[key], name, alone[name], said[name]["seconds"]))
        whole = sum((x.end - x.begin for x in roots[key]), Decimal(0))
        check(left_out or abs(sum(x["seconds"] for x in said.values()) - whole / 1000000) < Decimal("1e-7"),
              "%s: the names' seconds are not the %s us of what is around them" % (names[key], whole))
    seen = {x.name for key in tracks for x in tracks[key]}
    for word in words:
        if word not in ("own", "partial"):
            check((word[1:] not in seen) if word[0] == "-" else word in seen, "%s among the spans %s" % (word, sorted(seen)))


main()
print("%d passed, %d failed" % (passed, failed))
sys.exit(1 if failed or not passed else 0)
