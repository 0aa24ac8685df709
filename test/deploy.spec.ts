import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, sep } from 'node:path';
import { Writable } from 'node:stream';
import { Config } from '@app/config';
import { parser } from '@prometheus-io/lezer-promql';
import ts from 'typescript';
import { afterAll, describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { createProgram } from '../apps/worker/src/tasks/program.js';
import { Terminal } from '../apps/worker/src/tasks/terminal.js';
import { observeRuntime } from '../libs/telemetry/src/runtime.js';

const ROOT = join(import.meta.dirname, '..');
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const filesOf = (...patterns: string[]) => globSync(patterns, { cwd: ROOT }).map((path) => path.replaceAll(sep, '/'));
const sorted = (names: Iterable<string>) => [...new Set(names)].toSorted();

// --- What is emitted ------------------------------------------------------------------------------------------------

type Kind = 'counter' | 'gauge' | 'histogram';
interface Instrument {
  readonly name: string;
  readonly unit: string;
  readonly kind: Kind;
}

const kindOf = (maker: string): Kind => (/Histogram/.test(maker) ? 'histogram' : /UpDown|gauge/i.test(maker) ? 'gauge' : 'counter');

/** The name in Prometheus, as libs/telemetry makes it. */
function prometheusName({ name, unit, kind }: Instrument): string {
  const suffix = unit === 's' ? '_seconds' : unit === 'By' ? '_bytes' : unit === '1' && kind === 'gauge' ? '_ratio' : '';
  return `${name.replace(/\W+/g, '_')}${suffix}${kind === 'counter' ? '_total' : ''}`;
}

const sources = new Map(
  filesOf('apps/*/src/**/*.ts', 'libs/*/src/**/*.ts')
    .filter((path) => !path.endsWith('.spec.ts'))
    .map((path) => [path, read(path)] as const),
);

/** Where the maker of an instrument gets the name by a variable: it stands where that is called, or above. */
const BY_NAME = ['libs/rpc/src/call-telemetry.ts', 'libs/tasks/src/telemetry/gauges.ts', 'libs/tasks/src/telemetry/tally.ts'];
/** Made in the test, and looked at. */
const RUNTIME = 'libs/telemetry/src/runtime.ts';

/** Our own instruments: the maker, the name, and the unit, which is first in the options. */
const MADE = /(create\w+|gauge|new Tally)\(\s*'([a-z][a-z0-9_.]*)',\s*(?:\{\s*unit: |options\()?'([^']*)'/g;
/** `const name = … ? 'one' : 'another'; … createHistogram(name, { unit: 's'`. */
const MADE_OF_TWO = /const name = [^;]*'([\w.]+)' : '([\w.]+)';[^;]*?(create\w+)\(name, \{ unit: '([^']*)'/g;

function ownInstruments(): Instrument[] {
  return [...sources.values()].flatMap((text) => [
    ...[...text.matchAll(MADE)].map(([, maker, name, unit]) => ({ name: name!, unit: unit!, kind: kindOf(maker!) })),
    ...[...text.matchAll(MADE_OF_TWO)].flatMap(([, one, another, maker, unit]) =>
      [one!, another!].map((name) => ({ name, unit: unit!, kind: kindOf(maker!) })),
    ),
  ]);
}

/** Those of the event loop and the memory, whose names are put together: made of a meter that takes notes. */
function runtimeInstruments(): Instrument[] {
  const made: Instrument[] = [];
  const meter = new Proxy(
    {},
    {
      get: (_target, maker: string) => (name: unknown, options?: { unit: string }) => {
        if (maker.startsWith('create')) made.push({ name: String(name), unit: options?.unit ?? '', kind: kindOf(maker) });
      },
    },
  );
  observeRuntime({ getMeter: () => meter as never });
  return made;
}

const emitted = new Map<string, Kind>([
  ...[...ownInstruments(), ...runtimeInstruments()].map((instrument) => [prometheusName(instrument), instrument.kind] as const),
  ['target_info', 'gauge'],
]);

/** The series of each metric, with the metric that they are of. */
const series = new Map<string, string>([
  ...[...emitted].flatMap(([name, kind]) =>
    (kind === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']).map((suffix) => [`${name}${suffix}`, name] as const),
  ),
  ['up', 'up'],
]);

// --- What the page says ---------------------------------------------------------------------------------------------

const PAGE = 'docs/operating.md';
const page = read(PAGE);

/** Of each metric its kind and its labels, with their values where the page has them. */
const told = new Map(
  [...page.matchAll(/^\| `(\w+)` \| (counter|gauge|histogram) \|(.*?)\| /gm)].map(([, name, kind, labels]) => [
    name!,
    {
      kind: kind as Kind,
      labels: new Map(
        [...labels!.matchAll(/`(\w+)`(?: \(([^)]*)\))?/g)].map(([, label, values]) => [
          label!,
          values === undefined ? undefined : [...values.matchAll(/`([^`]*)`/g)].map(([, value]) => value!),
        ]),
      ),
    },
  ]),
);

const anchorsOf = (text: string) =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );

// --- What asks for metrics ------------------------------------------------------------------------------------------

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: Record<string, string>;
  readonly annotations: Record<string, string>;
}
const rules = (parse(read('deploy/prometheus/alerts.yml')) as { groups: { rules: Rule[] }[] }).groups.flatMap((group) => group.rules);

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly datasource?: { uid: string };
  readonly gridPos: { h: number; w: number; x: number; y: number };
  readonly targets?: { expr: string; legendFormat?: string; datasource: { uid: string } }[];
}
interface Board {
  readonly schemaVersion: number;
  readonly templating: { list: { name: string; type: string; definition?: string }[] };
  readonly panels: Panel[];
}
const board = JSON.parse(read('deploy/grafana/waybill.json')) as Board;

/** As Grafana would send it. */
const withVariables = (expr: string) => expr.replaceAll('$__rate_interval', '5m').replaceAll(/\$(queue|type)\b/g, '.*');

const scaled = (parse(read('deploy/kubernetes-keda/scaled-object.yaml')) as { spec: { triggers: { metadata: { query: string } }[] } }).spec;

const prometheus = parse(read('deploy/prometheus/prometheus.yml')) as {
  scrape_configs: { job_name: string; dns_sd_configs: { names: string[]; port: number }[] }[];
};
const jobs = prometheus.scrape_configs.map(({ job_name }) => job_name);

interface Query {
  readonly where: string;
  readonly expr: string;
  /** Texts that name labels of the result. */
  readonly texts: readonly string[];
}
const queries: readonly Query[] = [
  ...rules.map(({ alert, expr, annotations }) => ({ where: alert, expr, texts: Object.values(annotations) })),
  ...board.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr, legendFormat = '' }) => ({ where: `the panel "${title}"`, expr: withVariables(expr), texts: [legendFormat] })),
  ),
  ...scaled.triggers.map(({ metadata }) => ({ where: 'scaled-object.yaml', expr: metadata.query, texts: [] })),
];

interface Matcher {
  readonly metric: string;
  readonly label: string;
  readonly value: string;
}

/** The series that a query asks for, by which labels, and what it groups by; `errors` where it is none. */
function analyse(expr: string) {
  const metrics: string[] = [];
  const matchers: Matcher[] = [];
  const groupings: string[] = [];
  const errors: string[] = [];
  const text = ({ from, to }: { from: number; to: number }) => expr.slice(from, to);
  parser.parse(expr).iterate({
    enter: ({ node, type }) => {
      if (type.isError) errors.push(`"${text(node)}" at ${node.from}`);
      if (type.name === 'VectorSelector') metrics.push(text(node.getChild('Identifier')!));
      if (type.name === 'UnquotedLabelMatcher') {
        const value = text(node.getChild('StringLiteral')!).slice(1, -1);
        matchers.push({ metric: metrics.at(-1)!, label: text(node.getChild('LabelName')!), value });
      }
      if (type.name === 'GroupingLabels') groupings.push(...node.getChildren('LabelName').map(text));
    },
  });
  return { metrics, matchers, groupings, errors };
}

/** The labels of a series: those that the page tells, and what Prometheus adds. */
function labelsOf(name: string): ReadonlyMap<string, readonly string[] | undefined> {
  const own = told.get(series.get(name) ?? '')?.labels ?? [];
  return new Map([...own, ['job', jobs], ['instance', undefined], ...(name.endsWith('_bucket') ? [['le', undefined] as const] : [])]);
}

describe('the metrics', () => {
  it('are found in the sources', () => {
    expect([...emitted.keys()]).toEqual(
      expect.arrayContaining([
        'http_server_request_duration_seconds',
        'rpc_server_call_duration_seconds',
        'messaging_client_sent_messages_total',
        'waybill_queue_latency_seconds',
        'waybill_claim_size',
        'db_client_connection_max',
        'nodejs_eventloop_delay_p99_seconds',
        'nodejs_eventloop_utilization_ratio',
        'process_memory_usage_bytes',
      ]),
    );
    const makers = [...sources].flatMap(([path, text]) =>
      [...text.matchAll(/\bcreate(?:Observable)?(?:Histogram|Counter|UpDownCounter|Gauge)\(\s*(\S\w*)/g)].map(([, first]) => ({
        path,
        first: first!,
      })),
    );
    // One that gets its name in another way is not seen by what reads the sources here.
    const isSeen = ({ path, first }: (typeof makers)[number]) =>
      first.startsWith("'") || (first === 'name' && BY_NAME.includes(path)) || path === RUNTIME;
    expect(makers.length).toBeGreaterThan(5);
    const unseen = makers.filter((maker) => !isSeen(maker));
    expect(unseen).toEqual([]);
  });

  it('are all told of in docs/operating.md, with their kinds, and no others', () => {
    const lines = (metrics: Iterable<readonly [string, Kind]>) => sorted([...metrics].map(([name, kind]) => `${name} ${kind}`));
    expect(lines([...told].map(([name, { kind }]) => [name, kind]))).toEqual(lines(emitted));
  });

  it('are called in docs/operating.md as they are', () => {
    const words = sorted([...page.matchAll(/\b(?:waybill|messaging|http|rpc|db|nodejs|process)_\w+\b(?!\*)/g)].map(([word]) => word));
    const labels = [...told.values()].flatMap((metric) => [...metric.labels.keys()]);
    expect(words.filter((word) => !series.has(word) && !emitted.has(word) && !labels.includes(word))).toEqual([]);
  });

  it.each(queries)('of $where are there, with the labels and values that are asked for', ({ expr, texts }) => {
    const { metrics, matchers, groupings, errors } = analyse(expr);
    expect(errors).toEqual([]);
    expect(metrics).not.toEqual([]);
    expect(metrics.filter((metric) => !series.has(metric))).toEqual([]);
    for (const { metric, label, value } of matchers) {
      const labels = labelsOf(metric);
      expect([...labels.keys()]).toContain(label);
      const values = labels.get(label);
      const plain = value.split('|').filter((alternative) => /^[\w -]+$/.test(alternative));
      if (values) expect(plain.filter((alternative) => !values.includes(alternative))).toEqual([]);
    }
    const known = metrics.flatMap((metric) => [...labelsOf(metric).keys()]);
    expect(groupings.filter((label) => !known.includes(label))).toEqual([]);
    const named = texts.flatMap((text) => [...text.matchAll(/\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}/g)].map(([, label]) => label!));
    expect(named.filter((label) => !known.includes(label))).toEqual([]);
  });

  it('that are not there, and what is no query, are seen', () => {
    expect(analyse('sum(rate(waybill_nothing{a="b"}[5m])) by (c)')).toEqual({
      metrics: ['waybill_nothing'],
      matchers: [{ metric: 'waybill_nothing', label: 'a', value: 'b' }],
      groupings: ['c'],
      errors: [],
    });
    expect(analyse('sum(rate(up[5m])').errors).not.toEqual([]);
  });
});

describe('each alert', () => {
  it.each(rules)('$alert says how grave it is, since when, what it is about, and where to read on', (rule) => {
    expect(rule.for).toMatch(/^\d+m$/);
    expect(['critical', 'warning']).toContain(rule.labels['severity']);
    expect(rule.annotations['summary']).toMatch(/\S/);
    expect(rule.annotations['description']).toMatch(/\.$/);
    expect(rule.annotations['runbook']).toBe(`${PAGE}#${rule.alert.toLowerCase()}`);
  });

  it('has a section of docs/operating.md, and each section an alert', () => {
    expect(sorted([...page.matchAll(/^### (Waybill\w+)$/gm)].map(([, alert]) => alert!))).toEqual(sorted(rules.map(({ alert }) => alert)));
  });

  it('is tried, both as it fires and as it does not', () => {
    const { tests } = parse(read('deploy/prometheus/alerts.test.yml')) as {
      tests: { alert_rule_test: { alertname: string; exp_alerts?: unknown[] }[] }[];
    };
    const tried = tests.flatMap((test) => test.alert_rule_test);
    const names = sorted(rules.map(({ alert }) => alert));
    expect(sorted(tried.filter(({ exp_alerts }) => exp_alerts?.length).map(({ alertname }) => alertname))).toEqual(names);
    const quiet = tried.filter(({ exp_alerts }) => !exp_alerts?.length).map(({ alertname }) => alertname);
    // A lone failure and a rare one are in the case of the many that fire.
    expect(names.filter((name) => !quiet.includes(name))).toEqual(['WaybillAttemptsFailing']);
  });
});

describe('docs/operating.md', () => {
  it('leads to files and sections that are there', () => {
    const links = [...page.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)].map(([, path, anchor]) => [path!, anchor] as const);
    expect(links.length).toBeGreaterThan(20);
    const broken = links.filter(([path, anchor]) => {
      const target = path === '' ? PAGE : join('docs', path);
      return !existsSync(join(ROOT, target)) || (anchor !== undefined && !anchorsOf(read(target)).includes(anchor));
    });
    expect(broken).toEqual([]);
  });

  const commands = sorted([...page.matchAll(/`make tasks ARGS='([^']*)'`/g)].map(([, command]) => command!));

  it('names commands', () => {
    expect(commands.length).toBeGreaterThan(15);
  });

  it.each(commands)('names a command that there is: %s', async (command) => {
    const said: string[] = [];
    const sink = () => new Writable({ write: (chunk: Buffer, _encoding, done) => (said.push(String(chunk)), done()) });
    const terminal = new Terminal(sink() as never, sink() as never);
    let runs = 0;
    const program = createProgram({ terminal, run: () => ((runs += 1), Promise.resolve()) });
    const words = [...command.replaceAll('<id>', '01890a5d-ac96-774b-bcce-b302099a8057').matchAll(/"([^"]*)"|(\S+)/g)];
    await program.parseAsync(
      words.map(([, quoted, bare]) => quoted ?? bare!),
      { from: 'user' },
    );
    expect({ runs, said }).toEqual({ runs: 1, said: [] });
  });
});

describe('the board', () => {
  it('is one of Grafana 11, whose source of data is chosen', () => {
    expect(board.schemaVersion).toBe(39);
    expect(board.templating.list[0]).toMatchObject({ name: 'datasource', type: 'datasource' });
    const asked = board.panels.flatMap(({ datasource, targets = [] }) => [
      ...(datasource ? [datasource] : []),
      ...targets.map((t) => t.datasource),
    ]);
    expect(sorted(asked.map(({ uid }) => uid))).toEqual(['${datasource}']);
  });

  it('has panels that say what they show, beside each other', () => {
    expect(new Set(board.panels.map(({ id }) => id)).size).toBe(board.panels.length);
    const taken = new Map<string, string>();
    for (const { type, title, description, targets, gridPos } of board.panels) {
      if (type !== 'row')
        expect({ title, description, targets }).toMatchObject({ description: /\.$/, targets: expect.anything() as unknown });
      expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(`${title} is on ${taken.get(`${x} ${y}`)}`).toBe(`${title} is on undefined`);
          taken.set(`${x} ${y}`, title);
        }
      }
    }
  });

  it('lets choose queues and types by labels that there are', () => {
    const asked = board.templating.list.flatMap(({ definition }) => (definition === undefined ? [] : [definition]));
    expect(asked).toHaveLength(2);
    for (const definition of asked) {
      const [, metric, label] = /^label_values\((\w+), (\w+)\)$/.exec(definition) ?? [];
      expect([...labelsOf(metric!).keys()]).toContain(label);
      expect(series.has(metric!)).toBe(true);
    }
  });
});

describe('promtool', () => {
  const isHere = spawnSync('promtool', ['--version']).status === 0;
  const isSkipped = !isHere && process.env['CI'] !== 'true';
  const suffix = isSkipped ? ' (NOT RUN: there is no promtool on this machine)' : '';
  const folder = mkdtempSync(join(tmpdir(), 'waybill-promtool-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  const expectGood = (...args: string[]) => {
    const { status, stdout, stderr, error } = spawnSync('promtool', args, { cwd: join(ROOT, 'deploy/prometheus'), encoding: 'utf8' });
    expect({ status, said: `${stdout}${stderr}${error?.message ?? ''}` }).toEqual({ status: 0, said: expect.anything() as unknown });
  };

  it.skipIf(isSkipped)(`takes the rules and the configuration for containers${suffix}`, () => {
    expectGood('check', 'rules', 'alerts.yml');
    expectGood('check', 'config', 'prometheus.yml');
  });

  it.skipIf(isSkipped)(`finds that each alert fires when it should${suffix}`, () => expectGood('test', 'rules', 'alerts.test.yml'));

  it.skipIf(isSkipped)(`takes how pods are found${suffix}`, () => {
    // Debian's knows no Kubernetes: the rest is the same with targets that are given.
    const configuration = read('deploy/prometheus/prometheus.kubernetes.yml');
    const given = configuration.replace(/kubernetes_sd_configs:\n\s+- role: pod/, 'static_configs: [{ targets: [pod:8082] }]');
    expect(given).not.toBe(configuration);
    writeFileSync(join(folder, 'prometheus.yml'), given);
    expectGood('check', 'config', '--syntax-only', join(folder, 'prometheus.yml'));
  });

  it.skipIf(isSkipped)(`takes every query of the board and of KEDA${suffix}`, () => {
    const rules = queries.map(({ expr }, index) => ({ record: `query:${index}`, expr }));
    writeFileSync(join(folder, 'queries.yml'), JSON.stringify({ groups: [{ name: 'queries', rules }] }));
    expectGood('check', 'rules', join(folder, 'queries.yml'));
  });
});

// --- Kubernetes -----------------------------------------------------------------------------------------------------

interface Container {
  readonly image: string;
  readonly command: string[];
  readonly env?: { name: string; value: string }[];
  readonly ports?: { name: string; containerPort: number }[];
  readonly envFrom: { configMapRef?: { name: string }; secretRef?: { name: string } }[];
  readonly lifecycle?: { preStop: { exec: { command: string[] } } };
  readonly resources: unknown;
  readonly securityContext: unknown;
  readonly [probe: `${string}Probe`]: { httpGet: { path: string; port: string } } | undefined;
}
interface Pod {
  readonly metadata: { labels: Record<string, string>; annotations?: Record<string, string> };
  readonly spec: { containers: [Container]; terminationGracePeriodSeconds?: number; [field: string]: unknown };
}
interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { name: string };
  readonly data?: Record<string, string>;
  readonly stringData?: Record<string, string>;
  readonly resources?: string[];
  readonly spec: {
    readonly template: Pod;
    readonly selector?: Record<string, string> & { matchLabels?: Record<string, string> };
    readonly podSelector?: { matchLabels: Record<string, string> };
    readonly ports?: { targetPort: string }[];
    readonly ingress?: { ports: { port: string }[] }[];
    readonly scaleTargetRef: { name: string };
  };
}

const manifestFiles = filesOf('deploy/kubernetes*/*.yaml');
const manifests = manifestFiles.flatMap((path) =>
  parseAllDocuments(read(path)).map((document) => {
    expect([...document.errors, ...document.warnings]).toEqual([]);
    return { path, manifest: document.toJS() as Manifest };
  }),
);
const ofKind = (kind: string) => manifests.filter(({ manifest }) => manifest.kind === kind).map(({ manifest }) => manifest);
const named = (kind: string, name: string) => ofKind(kind).find(({ metadata }) => metadata.name === name)!;

const resources = manifests
  .filter(({ manifest }) => manifest.kind !== 'Kustomization')
  .map(({ manifest }) => ({ where: `${manifest.kind} ${manifest.metadata.name}`, manifest }));
const moduleOf = ({ apiVersion, kind }: Manifest) =>
  `${apiVersion.startsWith('keda.sh/') ? '@kubernetes-models/keda' : 'kubernetes-models'}/${apiVersion}/${kind}`;

/** What TypeScript says of manifests as objects of their types: fields that there are none, above all. */
function misfits(all: readonly Manifest[]): string[] {
  const name = join(ROOT, 'test/manifests.virtual.ts');
  const text = all
    .map((manifest, index) => `export const m${index}: import('${moduleOf(manifest)}').I${manifest.kind} = ${JSON.stringify(manifest)};`)
    .join('\n');
  const options: ts.CompilerOptions = {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    lib: ['lib.es2015.d.ts'],
    types: [],
    strict: true,
    skipLibCheck: true,
    noEmit: true,
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.fileExists = (path) => path === name || fileExists(path);
  host.readFile = (path) => (path === name ? text : readFile(path));
  host.getSourceFile = (path, version, ...rest) =>
    path === name ? ts.createSourceFile(path, text, version) : getSourceFile(path, version, ...rest);
  const program = ts.createProgram([name], options, host);
  const file = program.getSourceFile(name);
  return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(({ messageText, start = 0 }) => {
    const { metadata, kind } = all[file!.getLineAndCharacterOfPosition(start).line]!;
    return `${kind} ${metadata.name}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
  });
}

describe('the manifests', () => {
  it.each(resources)('$where fits its schema', async ({ manifest }) => {
    const models = (await import(moduleOf(manifest))) as Record<string, new (data: Manifest) => { validate(): void }>;
    new models[manifest.kind]!(manifest).validate();
  });

  it('have no field that there is none, nor one of another type', () => {
    expect(misfits(resources.map(({ manifest }) => manifest))).toEqual([]);
    const api = named('Deployment', 'waybill-api');
    const wrong = {
      ...api,
      spec: { ...api.spec, template: { ...api.spec.template, spec: { ...api.spec.template.spec, readinesProbe: {} } } },
    };
    expect(misfits([wrong])).toEqual([expect.stringMatching(/readinesProbe"' does not exist/)]);
  });

  it('are listed for kustomize, but for the example of a secret', () => {
    for (const { path, manifest } of manifests.filter(({ manifest }) => manifest.kind === 'Kustomization')) {
      const beside = manifestFiles.filter((file) => dirname(file) === dirname(path) && file !== path).map((file) => basename(file));
      const listed = manifest.resources!.filter((resource) => !resource.startsWith('../'));
      expect(sorted(listed)).toEqual(sorted(beside.filter((file) => !file.includes('.example.'))));
    }
  });

  const hasKubectl = spawnSync('kubectl', ['kustomize', '--help']).status === 0;
  it.skipIf(!hasKubectl)(`are put together by kustomize${hasKubectl ? '' : ' (NOT RUN: there is no kubectl on this machine)'}`, () => {
    const build = (path: string) => {
      const { status, stdout, stderr } = spawnSync('kubectl', ['kustomize', path], { cwd: ROOT, encoding: 'utf8' });
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      return parseAllDocuments(stdout).map((document) => document.toJS() as Manifest & { spec: { replicas?: number } });
    };
    const plain = build('deploy/kubernetes');
    const withKeda = build('deploy/kubernetes-keda');
    expect(withKeda).toHaveLength(plain.length + 1);
    const worker = (all: typeof plain) => all.find(({ kind, metadata }) => kind === 'Deployment' && metadata.name === 'waybill-worker')!;
    expect([worker(plain).spec.replicas, worker(withKeda).spec.replicas]).toEqual([2, undefined]);
    expect(worker(withKeda).spec.template.spec.containers[0].image).toMatch(/^registry\.example\.com\/waybill:/);
  });

  const workloads = [...ofKind('Deployment'), ...ofKind('Job')];

  it('run what the image has', () => {
    const commands = [...read('Dockerfile').matchAll(/^# .*?(node (dist\/\w+\.js))/gm)];
    expect(sorted(workloads.map(({ spec }) => spec.template.spec.containers[0].command.join(' ')))).toEqual(
      sorted(commands.map(([, command]) => command!)),
    );
    for (const [, , program] of commands) expect(existsSync(join(ROOT, program!))).toBe(true);
  });

  it.each(workloads.map(({ metadata, spec }) => ({ name: metadata.name, pod: spec.template.spec })))(
    'give $name no more than it needs',
    ({ pod }) => {
      expect(pod).toMatchObject({
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
      });
      expect(pod.containers[0].securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
      expect(pod.containers[0].resources).toMatchObject({ requests: { cpu: /m$/, memory: /Mi$/ }, limits: { memory: /Mi$/ } });
    },
  );

  it('select pods that there are', () => {
    const pods = workloads.map(({ spec }) => spec.template.metadata.labels);
    const selectors = resources.flatMap(({ where, manifest: { kind, spec } }) => {
      const selector = kind === 'Service' ? spec.selector : (spec?.selector?.matchLabels ?? spec?.podSelector?.matchLabels);
      return selector ? [{ where, selector: selector as Record<string, string> }] : [];
    });
    expect(selectors).toHaveLength(7);
    const fits = (selector: Record<string, string>) =>
      pods.filter((labels) => Object.entries(selector).every(([name, value]) => labels[name] === value)).length;
    expect(selectors.filter(({ selector }) => fits(selector) !== 1)).toEqual([]);
    for (const { spec } of ofKind('ScaledObject')) expect(named('Deployment', spec.scaleTargetRef.name)).toBeDefined();
  });

  const deployed = (name: string) => named('Deployment', name).spec.template;
  const portsOf = (name: string) => new Map(deployed(name).spec.containers[0].ports!.map((port) => [port.name, port.containerPort]));

  it('ask and lead to ports by names that there are', () => {
    for (const { metadata, spec } of ofKind('Deployment')) {
      const container = spec.template.spec.containers[0];
      const probes = (['startupProbe', 'livenessProbe', 'readinessProbe'] as const).map((probe) => container[probe]!.httpGet);
      expect(probes.map(({ path }) => path)).toEqual(['/healthz', '/healthz', '/readyz']);
      expect([...portsOf(metadata.name).keys()]).toEqual(expect.arrayContaining(probes.map(({ port }) => port)));
    }
    for (const { metadata, spec } of ofKind('Service')) {
      expect([...portsOf(metadata.name).keys()]).toEqual(expect.arrayContaining(spec.ports!.map(({ targetPort }) => targetPort)));
      // What has no password is led to by no service.
      expect(spec.ports!.map(({ targetPort }) => targetPort)).not.toContain('metrics');
      expect(spec.ports!.map(({ targetPort }) => targetPort)).not.toContain('probes');
    }
    for (const { metadata, spec } of ofKind('NetworkPolicy')) {
      expect(sorted(spec.ingress!.flatMap(({ ports }) => ports.map(({ port }) => port)))).toEqual(sorted(portsOf(metadata.name).keys()));
    }
  });

  it('have Prometheus find both apps, by the jobs of the alerts, where they serve metrics', () => {
    const compose = parse(read('docker-compose.yml'), { merge: true }) as {
      services: Record<string, { environment: Record<string, string> }>;
    };
    expect(jobs).toEqual(['waybill-api', 'waybill-worker']);
    for (const { job_name, dns_sd_configs } of prometheus.scrape_configs) {
      const { metadata, spec } = deployed(job_name);
      const variable = job_name === 'waybill-api' ? 'METRICS_PORT' : 'WORKER_HTTP_PORT';
      const port = spec.containers[0].env!.find(({ name }) => name === variable)!.value;
      expect(metadata.labels['app.kubernetes.io/name']).toBe(job_name);
      expect(metadata.annotations).toEqual({
        'prometheus.io/scrape': 'true',
        'prometheus.io/path': '/metrics',
        'prometheus.io/port': port,
      });
      const [{ names, port: scraped }] = dns_sd_configs as [(typeof dns_sd_configs)[number]];
      expect(compose.services[names[0]!]!.environment[variable]).toBe(String(scraped));
    }
  });
});

describe('the environment that the manifests give', () => {
  const variables = [
    ...`${read('libs/config/src/config.ts')}${read('libs/config/src/traces.ts')}`.matchAll(/^ {2,4}([A-Z][A-Z0-9_]+):/gm),
  ].map(([, name]) => name!);
  const settings = named('ConfigMap', 'waybill').data!;
  const placeholders = named('Secret', 'waybill-secrets').stringData!;
  const secrets: Record<string, string> = {
    SECRET_KEY: createHash('sha256').update('an example').digest('base64'),
    DATABASE_URL: 'postgres://waybill:secret@postgres.example.com:5432/waybill?sslmode=verify-full',
    SMTP_URL: 'smtp://waybill:secret@mail.example.com:587',
    REDIS_ADDRESS: 'rediss://:secret@redis.example.com:6379',
  };
  const image = Object.fromEntries([...read('Dockerfile').matchAll(/\b([A-Z_]+)=(\S+)/g)].map(([, name, value]) => [name!, value!]));
  const apps = [...ofKind('Deployment'), ...ofKind('Job')].map(({ metadata, spec }) => {
    const { env = [], envFrom } = spec.template.spec.containers[0];
    return { name: metadata.name, envFrom, own: Object.fromEntries(env.map(({ name, value }) => [name, value])) };
  });
  const ownOf = (name: string) => apps.find((app) => app.name === name)!.own;
  const graceOf = (name: string) => named('Deployment', name).spec.template.spec.terminationGracePeriodSeconds! * 1_000;

  it('is of variables that there are', () => {
    expect(variables).toEqual(expect.arrayContaining(['NODE_ENV', 'DATABASE_URL', 'WORKER_HTTP_PORT', 'METRICS_PORT', 'SECRET_KEY']));
    const given = [...Object.keys(settings), ...Object.keys(placeholders), ...apps.flatMap(({ own }) => Object.keys(own))];
    expect(given.filter((name) => !variables.includes(name))).toEqual([]);
    expect(image).toMatchObject({ NODE_ENV: 'production', HOST: '0.0.0.0' });
  });

  it.each(apps)('starts $name in production, with Redis or without', ({ envFrom, own }) => {
    expect(envFrom).toEqual([{ configMapRef: { name: 'waybill' } }, { secretRef: { name: 'waybill-secrets' } }]);
    expect(Object.keys(secrets)).toEqual(Object.keys(placeholders));
    for (const given of [secrets, { ...secrets, REDIS_ADDRESS: '' }]) {
      const config = Config.parse({ ...settings, ...given, ...own }, 'app');
      expect(config).toMatchObject({ isProduction: true, HOST: '0.0.0.0', traces: undefined });
    }
  });

  it('starts nothing with the placeholders of the example', () => {
    for (const [name, placeholder] of Object.entries(placeholders)) {
      expect(placeholder).toMatch(/^REPLACE-ME/);
      expect(() => Config.parse({ ...settings, ...secrets, [name]: placeholder }, 'app')).toThrow(`${name}: `);
    }
  });

  it('gives the ports that the pods name', () => {
    const ports = (name: string) =>
      named('Deployment', name).spec.template.spec.containers[0].ports!.map((port) => `${port.name} ${port.containerPort}`);
    const api = Config.parse({ ...settings, ...secrets, ...ownOf('waybill-api') }, 'app');
    expect(ports('waybill-api')).toEqual([`http ${api.HTTP_PORT}`, `grpc ${api.GRPC_PORT}`, `metrics ${api.METRICS_PORT}`]);
    const worker = Config.parse({ ...settings, ...secrets, ...ownOf('waybill-worker') }, 'app');
    expect(ports('waybill-worker')).toEqual([`probes ${worker.WORKER_HTTP_PORT}`]);
  });

  it('ends processes before they are killed', () => {
    const bounds = (path: string) =>
      [...read(path).matchAll(/^const SHUTDOWN_\w+ = ([\d_]+);$/gm)].map(([, bound]) => Number(bound!.replaceAll('_', '')));
    const sum = (values: number[]) => values.reduce((all, value) => all + value, 0);
    const { WORKER_SHUTDOWN_TIMEOUT } = Config.parse({ ...settings, ...secrets, ...ownOf('waybill-worker') }, 'app');
    expect(bounds('apps/worker/src/main.ts')).toHaveLength(1);
    expect(graceOf('waybill-worker')).toBeGreaterThan(WORKER_SHUTDOWN_TIMEOUT + sum(bounds('apps/worker/src/main.ts')));
    const [, pause] = named('Deployment', 'waybill-api').spec.template.spec.containers[0].lifecycle!.preStop.exec.command;
    expect(bounds('apps/api/src/main.ts')).toHaveLength(2);
    expect(graceOf('waybill-api')).toBeGreaterThan(Number(pause) * 1_000 + sum(bounds('apps/api/src/main.ts')));
  });
});
