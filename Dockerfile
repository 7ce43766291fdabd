# Hewei in a container: the browser's pages, then the program, then an image with nothing else in it.
# No image was ever built from this file by those who wrote it; see docs/configuration.md, "Container".
#
#   docker build -t hewei .

FROM node:20 AS web
WORKDIR /source/web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci --no-audit --no-fund
COPY web ./
RUN npm run build

FROM rust:1.95 AS program
WORKDIR /source
COPY . .
COPY --from=web /source/web/dist web/dist
RUN cargo build --locked --release --package hewei

FROM debian:12-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin hewei \
 && install --directory --owner=hewei --group=hewei --mode=0700 /data
COPY --from=program /source/target/release/hewei /usr/local/bin/hewei
USER hewei
WORKDIR /data
ENV HEWEI_STORAGE_FOLDER=/data
VOLUME ["/data"]
# HTTPS, and all sound and pictures.
EXPOSE 8443/tcp 8443/udp
# Sessions are told and recordings sealed, within ten seconds.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=20s CMD ["hewei", "health"]
ENTRYPOINT ["hewei"]
CMD ["serve"]
