# vigilane in a container: the same command as on a machine. docker-compose.yml has what it needs beside it.
FROM node:24-bookworm-slim AS build
WORKDIR /app
ENV ONNXRUNTIME_NODE_INSTALL=skip
COPY package.json package-lock.json .npmrc ./
RUN npm install --no-fund --no-audit
COPY . .
RUN npm run build:dashboard && npm prune --omit=dev

FROM node:24-bookworm-slim
RUN apt-get update \
  && apt-get install -y --no-install-recommends ffmpeg ca-certificates \
  && rm -rf /var/lib/apt/lists/* \
  && mkdir -p /data /cache \
  && chown node:node /data /cache
WORKDIR /app
# Only what runs; it belongs to root, and the process that runs it may not change it.
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/src ./src
COPY --from=build /app/dashboard/dist ./dashboard/dist
COPY --from=build /app/config ./config
COPY --from=build /app/redpanda ./redpanda
# With a read-only file system only /data, /cache and /tmp are written to.
ENV VIGILANE_DATA=/data VIGILANE_CACHE=/cache NODE_ENV=production npm_config_cache=/tmp/npm
USER node
VOLUME ["/data", "/cache"]
EXPOSE 8800
STOPSIGNAL SIGTERM
HEALTHCHECK NONE
ENTRYPOINT ["node", "src/main.ts"]
CMD ["up"]
