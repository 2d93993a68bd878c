# vigilane in a container: the same command as on a machine, with a Redis beside it (docker-compose.yml).
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
  && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY --from=build --chown=node:node /app /app
RUN mkdir -p /data /cache && chown node:node /data /cache
ENV VIGILANE_DATA=/data VIGILANE_CACHE=/cache NODE_ENV=production
USER node
VOLUME ["/data", "/cache"]
EXPOSE 8800
STOPSIGNAL SIGTERM
ENTRYPOINT ["node", "src/main.ts"]
CMD ["up"]
