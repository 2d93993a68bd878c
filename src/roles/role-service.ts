/** What a role's wiring gives: a service that may also say how it is. Its process tells it with each heartbeat. */
import type { ToPublish, TopicTrouble } from "../events.ts";
import type { Service } from "../lifecycle.ts";

export interface RoleService extends Service {
  /** What it is busy with or waits for, for people. */
  detail?(): string;
  /** Of roles with topics: what keeps them from it, also during its start. Null: nothing that it knows of. */
  topicTrouble?(): TopicTrouble | null;
  /** Of roles that publish: what waits for that. Null: not known yet. */
  toPublish?(): ToPublish | null;
}
