/** A Nest context with nothing in it, in a process that has loaded every package that the product's process loads. */
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

const PACKAGES: Record<string, readonly string[]> = {
  api: [
    '@bufbuild/protobuf',
    '@bufbuild/protobuf/wkt',
    '@bufbuild/protobuf/reflect',
    '@bufbuild/protovalidate',
    '@grpc/grpc-js',
    '@grpc/reflection',
    'grpc-health-check',
    '@nestjs/bullmq',
    '@nestjs/microservices',
    '@nestjs/platform-fastify',
    '@nestjs/typeorm',
    '@node-rs/argon2',
    'bullmq',
    'cron-parser',
    'fastify',
    'ms',
    'nestjs-pino',
    'nodemailer',
    'p-limit',
    'pg',
    'piscina',
    'rxjs',
    'typeorm',
    'uuid',
    'zod',
  ],
  worker: [
    '@fastify/cookie',
    '@bufbuild/protobuf',
    '@bufbuild/protobuf/wkt',
    '@bufbuild/protobuf/reflect',
    '@bufbuild/protovalidate',
    '@grpc/grpc-js',
    '@grpc/reflection',
    'grpc-health-check',
    '@nestjs/bullmq',
    '@nestjs/microservices',
    '@nestjs/platform-fastify',
    '@nestjs/typeorm',
    '@node-rs/argon2',
    'bullmq',
    'cron-parser',
    'fastify',
    'ms',
    'nestjs-pino',
    'nodemailer',
    'p-limit',
    'pg',
    'piscina',
    'rxjs',
    'typeorm',
    'uuid',
    'zod',
  ],
};

for (const name of PACKAGES[process.env['BENCH_PACKAGES']!]!) await import(name);

class EmptyModule {}
Module({})(EmptyModule);
await NestFactory.createApplicationContext(EmptyModule, { logger: false });
process.stdout.write('ready\n');
setInterval(() => undefined, 60_000);
