// What the admin API answers, as far as the page reads it. Optional is what a gateway may leave out.

export interface Forecast {
  demand_in_flight: number;
  room: number | null;
  offered_per_second: number;
  shed_percent: number;
}

export interface Lever {
  kind: string;
  percent: number;
  then: { percent: number; in_seconds: number; paused: boolean } | null;
  by: string;
  reason: string;
  since: string;
  forecast: Forecast | null;
}

export interface Backend {
  name: string;
  address: string;
  up: boolean;
  state: string;
  weight: number;
  in_flight: number;
  cap: number;
  max_in_flight: number;
  ewma_ms: number | null;
  ramp_percent: number;
  ramp: Lever | null;
  automatic: Lever | null;
  drain: Lever | null;
  incarnations: number;
  reference: { in_flight: number; source: string; age_seconds: number | null };
}

export interface Upstream {
  name: string;
  in_flight: number;
  limit: number;
  max_in_flight: number;
  zombies: number;
  adaptive: {
    mode: string;
    limit: number;
    objective_seconds: number;
    last_move: { at: string; from: number; to: number; because: string } | null;
    shadow_sheds: number;
  } | null;
  classes: { class: string; limit: number }[];
  ramp_percent: number;
  ramp: Lever | null;
  backends: Backend[];
}

export interface Shed {
  class: string;
  reason: string;
  per_second: number;
}

/** One upstream in a snapshot: what fits a line. */
export interface Row {
  name: string;
  in_flight: number;
  limit: number;
  queue: number;
  max_waiting: number;
  requests_per_second: number | null;
  shed_per_second: number | null;
  latency_p50_seconds: number | null;
  latency_p99_seconds: number | null;
  /** For how long it sheds, short pauses included; null if it does not. */
  shedding_seconds: number | null;
  /** For how long nothing came back although it holds requests, once that is longer than usual. */
  silent_seconds: number | null;
  ramp_percent: number;
  backends_total: number;
  backends_ready: number;
  worst_state?: string;
  sheds: Shed[];
}

export interface Worker {
  worker?: number;
  connections?: number;
  lag_seconds: number;
  closed_classes?: string[];
  stuck?: boolean;
}

/** A sentence of the gateway about itself, and what it is about. */
export interface Condition {
  kind: string;
  text: string;
}

export interface Status {
  version: { number: number; hash: string; cause: string; by: string | null; reason: string | null; since: string };
  degraded: boolean;
  reasons: string[];
  conditions: Condition[];
  ready: boolean;
  draining: boolean;
  last_apply_successful: boolean;
  uptime_seconds: number;
  in_flight: number;
  max_in_flight: number;
  workers: Worker[];
}

export interface Side {
  requests: number;
  failed: number;
}

export interface Guard {
  stage: number;
  stages: number;
  candidate: Side;
  stable: Side;
  overdue: number;
  routes?: {
    route: string;
    candidate: Side;
    stable: Side;
    candidate_p90_seconds: number | null;
    stable_p90_seconds: number | null;
  }[];
  why: string;
  forecast_seconds: number;
  watched_seconds: number;
  bake_seconds: number;
}

export interface Rollout {
  state: string;
  version: {
    number: number;
    by: string | null;
    reason: string | null;
    risk: string;
    approved_by: string | null;
  } | null;
  stages_percent: number[];
  share_percent: number;
  realised_share_percent: number | null;
  per_request: boolean;
  waiting: string | null;
  needs_person: boolean;
  guard: Guard | null;
  unconfirmed: { number: number; seconds_left: number } | null;
  pending_file: { hash: string; cause: string } | null;
  last: { number: number; outcome: string; why: string } | null;
  break_glass: { number: number; by: string; reason: string; at: string } | null;
}

export interface Permits {
  total: number;
  truncated?: boolean;
  /** Cores that did not answer in time. */
  unanswered?: number[];
  summary: { upstream: string; route: string; class: string; phase: string; count: number; oldest_seconds: number }[];
  clients?: { client: string; count: number; oldest_seconds: number }[];
}

export interface Incident {
  id: number;
  state: "draft" | "open" | "closed";
  title: string;
  severity: string;
  upstreams: string[];
  freeze: boolean;
  public: boolean;
  drafted_because: string | null;
  opened_at: string;
  opened_by: string;
  /** Counts up with each change. */
  revision?: number;
  updates: { at: string; by: string; text: string; public: boolean }[];
}

export interface Snapshot {
  at: string;
  status: Status;
  rollout: Rollout | null;
  upstreams: Row[];
  upstream?: Upstream | null;
  workers: Worker[];
  permits: Permits | null;
}

export interface Event {
  id: number;
  at: string;
  kind: string;
  message: string;
  /** Whom it is about, and the word for what happened, where it has them. */
  upstream?: string | null;
  what?: string;
}

export interface Version {
  number: number;
  author: string | null;
  reason: string | null;
  risk: string | null;
  at_ms: number;
  outcome: string;
}

export interface Series {
  now: string;
  step_seconds: number;
  points: number;
  series: { name: string; upstream?: string | null; worker?: number | null; values: (number | null)[] }[];
}

export type Role = "viewer" | "operator" | "admin";

export interface Caller {
  name: string;
  role: Role;
}
