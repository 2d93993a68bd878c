/** What the topics are called on the wire: by their design names, or as the setting topicNames says. */
import { deadLetterTopic, TOPICS } from "./topics/topic-log.ts";

/** Design name → name on the wire, of the topics that have another one there. */
export type TopicNames = ReadonlyMap<string, string>;

/** As the older system's documents call them. */
const OLDER_ENDING = "-topic";
const NAME = /^[A-Za-z0-9._-]{1,200}$/;

/** `parts`: "older", or design=wire for each topic that is called otherwise. Throws a TypeError that says what is wrong. */
export function readTopicNames(parts: readonly string[]): TopicNames {
  const design = Object.values<string>(TOPICS);
  const names = new Map<string, string>();
  for (const part of parts) {
    if (part === "older") {
      for (const name of design) names.set(name, `${name}${OLDER_ENDING}`);
      continue;
    }
    const [name = "", wire = "", ...more] = part.split("=").map((each) => each.trim());
    if (more.length > 0 || !NAME.test(wire)) throw new TypeError(`"${part}" is not of the form name=name-on-the-wire`);
    if (!design.includes(name)) throw new TypeError(`there is no topic ${name}; there are: ${design.join(", ")}`);
    names.set(name, wire);
  }
  const wires = design.map((name) => names.get(name) ?? name);
  const twice = wires.find((wire, i) => wires.indexOf(wire) !== i);
  if (twice !== undefined) throw new TypeError(`two topics would be called ${twice}`);
  return names;
}

/** Names that are no design name are taken for names on the wire. Dead letters follow their topic. */
export function wireName(names: TopicNames, topic: string): string {
  const known = names.get(topic);
  if (known !== undefined) return known;
  for (const [name, wire] of names) if (topic === deadLetterTopic(name)) return deadLetterTopic(wire);
  return topic;
}
