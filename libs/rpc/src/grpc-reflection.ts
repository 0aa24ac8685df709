import { type DescFile, type DescService, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import type { Server, ServiceDefinition } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { BadRequestSchema, healthFile, StatusSchema } from '@app/contract';

/** What the package keeps to itself; its own encoding of a file loses every option that it does not know. */
interface Internals {
  readonly files: Readonly<Record<string, object>>;
  readonly fileEncodings: Map<object, Uint8Array>;
}

/** Has the server tell callers its services, everything that they are made of, and the details of their errors. */
export function addReflection(server: Server, services: readonly DescService[]): void {
  const reflectionItself = reflectionServices();
  const files = [...services.map(({ file }) => file), healthFile, StatusSchema.file, BadRequestSchema.file];
  const described = descriptorFiles(files);
  const fileDescriptorProtos = [...described.values(), ...reflectionItself.flatMap(loadedFiles)];
  const names = [...services, ...healthFile.services].map(({ typeName }) => typeName);
  const reflection = new ReflectionService(
    { files: { fileDescriptorProtos } } as unknown as ConstructorParameters<typeof ReflectionService>[0],
    {
      services: [...names, ...reflectionItself.map(serviceName)],
    },
  );
  for (const { files, fileEncodings } of Object.values(reflection) as Internals[]) {
    for (const [name, bytes] of described) fileEncodings.set(files[name]!, bytes);
  }
  reflection.addToServer(server);
}

/** The files, and all that they import, by their names. */
function descriptorFiles(roots: readonly DescFile[]): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  const add = ({ name, proto, dependencies }: DescFile): void => {
    if (files.has(`${name}.proto`)) return;
    files.set(`${name}.proto`, Buffer.from(toBinary(FileDescriptorProtoSchema, proto)));
    dependencies.forEach(add);
  };
  roots.forEach(add);
  return files;
}

/** The package tells the definitions of its services only to a server. */
function reflectionServices(): ServiceDefinition[] {
  const definitions: ServiceDefinition[] = [];
  const collector = { addService: (definition: ServiceDefinition) => definitions.push(definition) };
  new ReflectionService({}).addToServer(collector as unknown as Server);
  return definitions;
}

/** The files of a service that @grpc/proto-loader has read. */
function loadedFiles(definition: ServiceDefinition): Buffer[] {
  return Object.values(definition).flatMap(
    (method) => (method as unknown as { requestType: { fileDescriptorProtos: Buffer[] } }).requestType.fileDescriptorProtos,
  );
}

function serviceName(definition: ServiceDefinition): string {
  return Object.values(definition)[0]!.path.split('/')[1]!;
}
