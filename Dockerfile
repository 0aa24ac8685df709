# One image for both apps. The command says which:
#   node dist/api.js          (the default)
#   node dist/worker.js
# and, before either, once for a release: node dist/migrate.js

FROM node:24-bookworm-slim AS source
WORKDIR /app
COPY package.json package-lock.json ./

FROM source AS build
# No install scripts: the compiler and the bundler need none, and what does is for development.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json nest-cli.json ./
COPY apps apps
COPY libs libs
COPY scripts/bundle.ts scripts/
RUN npx nest build api && npx nest build worker && node scripts/bundle.ts && node libs/console/page/build.ts && rm -r dist/apps dist/libs

FROM source AS dependencies
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:24-bookworm-slim
ENV NODE_ENV=production \
    NODE_OPTIONS=--enable-source-maps \
    HOST=0.0.0.0
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json LICENSE ./
USER node
EXPOSE 8080 9090 8081
STOPSIGNAL SIGTERM
CMD ["node", "dist/api.js"]
