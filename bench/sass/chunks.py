"""chunks.py -- would a network's top level be faster in chunks of images whose tensors stay in L2? Its ops, those whose outputs are as high
as the network's, once for the whole batch and once chunk by chunk: predictions, never measurements.

Of chunks there are two readings. By the rule of predict.py an op's tensors stay in L2 if all of them together are no more than what it
keeps: an op's own input is then taken as left there by the op before it, also where it comes from outside of the level. And a bound that
nothing reaches: no op of a chunk moves anything through memory. Gaps between launches and multiprocessors without a block count in both. """
from copy import copy

from . import launches
from .predict import H100, mean


def level(predictor, graph, images, all_stays=False):
    """{op: seconds of all of these, their launches' gaps included} of the top level, and its launches."""
    top, rows, count, before = max(t[1] for t in graph["tensors"]), {}, 0, None
    for op, made in launches.launches_of(graph, images, predictor.hopper):
        for launch in made:
            gap, before = predictor.gap(launch, before), launch
            if op.out.h != top:
                continue
            launch = copy(launch)
            launch.moved = 0 if all_stays else launch.moved
            rows[op.describe()] = rows.get(op.describe(), 0.0) + gap + mean([predictor.seconds(launch, name) for name in predictor.sets])
            count += 1
    return rows, count


def in_chunks(predictor, graph, batch, images, all_stays):
    """The same of a batch that goes through the level in chunks of so many images, and what is left."""
    rows, count = {}, 0
    for part, times in ((images, batch // images), (batch % images, 1)):
        if not part:
            continue
        of_part, launched = level(predictor, graph, part, all_stays)
        count += times * launched
        for op, seconds in of_part.items():
            rows[op] = rows.get(op, 0.0) + times * seconds
    return rows, count


def compare(predictor, graph, batch, sizes):
    """[(images, launches, {op: seconds} by the rule, {op: seconds} of the bound)]: the whole batch first, then in chunks of sizes."""
    whole = level(predictor, graph, batch)
    out = [(batch, whole[1], whole[0], whole[0])]
    for images in sizes:
        rule, bound = (in_chunks(predictor, graph, batch, images, all_stays) for all_stays in (False, True))
        out.append((images, rule[1], rule[0], bound[0]))
    return out


def markdown(compared, call_ms, name):
    whole = compared[0]
    total = sum(whole[2].values())
    lines = ["%s: the top level %.2f ms of a call of %.2f ms; L2 keeps %.0f MB" % (name, 1e3 * total, call_ms, H100["l2_keeps_bytes"] / 1e6), "",
             "| images a chunk | launches | ms by the rule | of the call | ms if all stayed in L2 | of the call |", "|--:|--:|--:|--:|--:|--:|"]
    for images, count, *both in compared:
        cells = ["%.2f | %+.1f%%" % (1e3 * sum(r.values()), 1e5 * (sum(r.values()) - total) / call_ms) for r in both]
        lines.append("| %d | %d | %s |" % (images, count, " | ".join(cells)))
    lines += ["", "us an image, by the rule / if all stayed in L2:", "", "| op | %s |" % " | ".join(str(images) for images, *_ in compared),
              "|---|" + "--:|" * len(compared)]
    us = lambda seconds: 1e6 * seconds / whole[0]
    for op in sorted(whole[2], key=lambda op: -whole[2][op]):
        cells = ["%.2f" % us(rule[op]) if rule is bound else "%.2f / %.2f" % (us(rule[op]), us(bound[op])) for _, _, rule, bound in compared]
        lines.append("| %s | %s |" % (op, " | ".join(cells)))
    return "\n".join(lines)
