// The shapes of the control API's operations, as far as the page uses them. Times are seconds since
// 1970, but for what comes out of an instance's record or the audit log: those are RFC 3339 texts.

export type Tokens = "optional" | "required";
export type Toggle = "enabled" | "disabled";

export interface MetadataOptions {
  state: "pending" | "applied";
  httpTokens: Tokens;
  httpEndpoint: Toggle;
  httpPutResponseHopLimit: number;
  httpProtocolIpv6: Toggle;
}

export interface Tag {
  key: string;
  value?: string;
}

export interface Rehearsal {
  mode: string;
  share?: number;
  since: string;
  until: string;
  ended?: string;
}

export interface Faults {
  on: string;
  latencyMillis?: number;
  jitterMillis?: number;
  latencyShare?: number;
  status?: number;
  statusShare?: number;
  refuseShare?: number;
  dropShare?: number;
  expiredCredentials?: boolean;
  absentSeconds?: number;
  until?: string;
  count?: number;
  met?: number;
}

export interface Instance {
  name: string;
  arn: string;
  supportCode: string;
  createdAt: number;
  location: { availabilityZone: string; regionName: string };
  tags: Tag[];
  blueprintId?: string;
  blueprintName?: string;
  bundleId?: string;
  privateIpAddress?: string;
  publicIpAddress?: string;
  ipv6Addresses: string[];
  state: { code: number; name: string };
  metadataOptions: MetadataOptions;
  faults?: Faults;
  rehearsal?: Rehearsal;
}

export interface Maintenance {
  id: string;
  code: string;
  description: string;
  state: string;
  notBefore: string;
  notAfter?: string;
}

export interface WholeInstance {
  name: string;
  id: string;
  launchedAt: string;
  zone: string;
  tagsInMetadata?: boolean;
  role?: { name: string } | null;
  userData?: string; // base64
  userDataSize: number;
  events?: {
    rebalanceAt?: string;
    spot?: { action: string; time: string };
    maintenance?: Maintenance[];
    lifecycleState?: string;
  };
  hidden: string[];
}

export interface Datapoint {
  timestamp: number;
  sum?: number;
}

export interface Known {
  instanceName: string;
  since?: number;
  until?: number;
  missingSeconds: number;
  complete: boolean;
}

export interface Advice {
  code: string;
  text: string;
  source?: string;
}

export interface CallerProcess {
  executable?: string;
  arguments?: string[];
  unit?: string;
  container?: string;
  package?: string;
}

export interface Caller {
  instanceName: string;
  callerKey: string;
  source: string;
  userAgent: string;
  pathGroup: string;
  process?: CallerProcess;
  agent?: { tool: string; version?: string };
  counts: Record<string, number>;
  countedSince?: number;
  firstSeen: number;
  lastSeen: number;
  lastWithoutToken?: number;
  period: { kind: string; text: string };
  advice?: Advice[];
}

/** FleetCaller is one software on any number of instances. */
export interface FleetCaller {
  userAgent: string;
  process?: CallerProcess;
  others?: boolean;
  noToken: number;
  counts: Record<string, number>;
  instances: number;
  instanceNames: string[];
  lastWithoutToken: number;
  advice?: Advice[];
}

export interface Alarm {
  name: string;
  createdAt: number;
  monitoredResourceInfo: { name: string };
  comparisonOperator: string;
  evaluationPeriods: number;
  datapointsToAlarm: number;
  period: number;
  threshold: number;
  metricName: string;
  state: "OK" | "ALARM" | "INSUFFICIENT_DATA";
}

export interface Attachment {
  instanceName: string;
  host?: string;
  interface?: string;
  sources?: string[];
  networkNamespace?: string;
  processId?: number;
  createdAt: number;
  byName?: boolean;
  guestInterfaces?: { macAddress?: string; addresses?: string[] }[];
  state: string;
  reason?: string;
}

export interface FoundInstance {
  name: string;
  state: string;
  zone: string;
  blueprintId?: string;
  bundleId?: string;
  metadataOptions: MetadataOptions;
  privateIp?: string;
  attached: boolean;
  noToken: number | null;
  /** unknownSeconds: of so much of the time it is not known; there may have been more. */
  unknownSeconds?: number;
  tags?: Tag[];
}

export interface TreeEntry {
  path: string;
  kind: "directory" | "value" | "secret" | "absent";
  value?: string;
  valueBase64?: string;
  doc?: string;
}

export interface Tree {
  status: number;
  entries: TreeEntry[];
  versions?: string[];
}

/** AuditEntry is a line of the audit log. */
export interface AuditEntry {
  when: string;
  who: string;
  what: string;
  resource?: string;
  source?: string;
  server?: string;
  change?: string;
  before?: Record<string, unknown>;
  after?: Record<string, unknown>;
  changed?: string[];
  failure?: string;
}

export interface Operation {
  id: string;
  resourceName: string;
  resourceType: string;
  createdAt: number;
  isTerminal: boolean;
  operationType: string;
  operationDetails?: string;
  status: string;
  errorCode?: string;
  errorDetails?: string;
}

/** MigrationVerdict says of an instance whether tokens may be required of it. */
export interface MigrationVerdict {
  instanceName: string;
  verdict: "done" | "ready" | "not yet" | "unknown";
  reason: string;
  noToken: number | null;
  rejected: number | null;
  rehearsal?: Rehearsal;
}

export type MigrationStep = "waiting" | "requiring" | "required" | "skipped" | "excepted" | "returning" | "returned" | "undoing" | "undone" | "kept" | "gone";

export interface MigrationWave {
  name: string;
  holdSeconds: number;
  begunAt?: number;
  heldUntil?: number;
  heldAt?: number;
}

export interface MigrationException {
  names?: string[];
  tags?: string[];
  userAgent?: string;
  source?: string;
  owner: string;
  reason?: string;
  until: number;
}

/** Migration is how far a plan is, as the command that carries it out has told. */
export interface Migration {
  migrationId: string;
  plan: string;
  begunBy: string;
  begunAt: number;
  state: "running" | "undoing" | "interrupted" | "stopped" | "finished" | "undone";
  reason?: string;
  stepAt: number;
  heardAt: number;
  toldBy: string;
  /** silent: it should have been heard of, and was not. */
  silent: boolean;
  waves: MigrationWave[];
  exceptions: MigrationException[];
  moreExceptions: number;
  /** counts are by wave; under "" those of no wave that is listed. */
  counts: Record<string, Partial<Record<MigrationStep, number>>>;
}

export interface MigratedInstance {
  place: number;
  instanceName: string;
  step: MigrationStep;
  at?: number;
  reason?: string;
  owner?: string;
  until?: number;
}

type Named = { instanceName: string };
type Done = { operation: Operation };
type AllDone = { operations: Operation[] };

/** Every operation that the page calls: what it takes and what it answers. */
export interface Operations {
  GetInstance: [Named, { instance: Instance }];
  DescribeInstance: [Named & { includeUserData?: boolean }, { instance: WholeInstance }];
  SetInstance: [Named & { userData?: string; tagsInMetadata?: boolean }, Done];
  UpdateInstanceMetadataOptions: [Named & Partial<Omit<MetadataOptions, "state">>, Done];
  StartRehearsal: [Named & { mode: string; seconds: number }, Done];
  StopRehearsal: [Named, Done];
  GetMetricData: [
    Named & { metricName: string; period: number; startTime: number; endTime: number; statistics: string[] },
    { metricName: string; metricData: Datapoint[]; known: Known },
  ];
  GetCallers: [Partial<Named> & { since?: number; pageToken?: string }, { callers: Caller[]; known: Known[]; nextPageToken?: string }];
  GetAlarms: [{ monitoredResourceName?: string; pageToken?: string }, { alarms: Alarm[]; nextPageToken?: string }];
  GetAttachments: [Record<string, never>, { attachments: Attachment[] }];
  DetachInstance: [Named, Done];
  AttachInstance: [Named & { interface?: string; networkNamespace?: string; processId?: number }, Done];
  UpdateInstanceEvents: [
    Named & {
      clear?: string[];
      spot?: { action: string; time: number };
      rebalance?: { noticeTime: number };
      maintenance?: { eventId?: string; code?: string; description?: string; state?: string; notBefore?: number; notAfter?: number };
      lifecycleState?: string;
    },
    Done,
  ];
  UpdateInstanceFaults: [
    Named & {
      clear?: boolean;
      on?: string;
      latencyMillis?: number;
      status?: number;
      statusShare?: number;
      refuseShare?: number;
      dropShare?: number;
      expiredCredentials?: boolean;
      absentSeconds?: number;
      forMillis?: number;
      count?: number;
    },
    Done,
  ];
  TagResource: [{ resourceName: string; tags: Tag[] }, AllDone];
  UntagResource: [{ resourceName: string; tagKeys: string[] }, AllDone];
  GetAuditEntries: [
    { resource?: string; who?: string; failed?: boolean; pageSize?: number; pageToken?: string },
    { entries: AuditEntry[]; server?: string; knownSince?: number; incomplete: string[]; nextPageToken?: string },
  ];
  GetOperations: [{ pageToken?: string }, { operations: Operation[]; nextPageToken?: string }];
  GetOperationsForResource: [{ resourceName: string; pageToken?: string }, { operations: Operation[]; nextPageToken?: string }];
  SearchInstances: [
    { query?: string; metadataFilter?: string; sortBy?: string; descending?: boolean; since?: number; pageSize?: number; page?: number },
    { instances: FoundInstance[]; total: number; pages: number },
  ];
  GetFleet: [
    { since?: number },
    {
      instances: number;
      optional: number;
      required: number;
      disabled: number;
      pending: number;
      states: Record<string, number>;
      unheard: number;
      noToken: { sum: number | null; unknownInstances: number };
    },
  ];
  GetFleetMetricData: [
    { metricName: string; startTime: number; endTime: number; period: number; worst?: number },
    { datapoints: Datapoint[]; worst: { instanceName: string; sum: number; datapoints: Datapoint[] }[]; incomplete?: string[] },
  ];
  GetFleetCallers: [{ since?: number; limit?: number }, { callers: FleetCaller[]; total: number; incomplete?: string[] }];
  GetMigrationVerdicts: [{ instanceNames: string[] }, { windowSeconds: number; verdicts: MigrationVerdict[] }];
  GetMigrations: [Record<string, never>, { time: number; migrations: Migration[] }];
  GetMigratedInstances: [
    { migrationId: string; wave?: string; step?: MigrationStep; page?: number; pageSize?: number },
    { instances: MigratedInstance[]; total: number; pages: number },
  ];
  MakeMigrationReport: [{ form: "html" | "json" }, { reportId: string }];
  GetMigrationReport: [{ reportId: string; from: number }, { judged: number; instances: number; size: number; fileName?: string; key?: string; part?: string }];
  GetMetadataTree: [Named & { version: string; path: string; protocol: "v1" | "v2"; reveal?: boolean }, Tree];
}

export type Op = keyof Operations;
export type Input<O extends Op> = Operations[O][0];
export type Output<O extends Op> = Operations[O][1];

/** Session is who is signed in, as the server tells. */
export interface Session {
  accessKeyId: string;
  readOnly: boolean;
  regions: string[];
  region: string;
  version: string;
  expires: string;
}
