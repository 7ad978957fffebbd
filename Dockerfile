# Built by the same set-up script as a clone: docker build -t smore-serve .
# Run: docker run -p 127.0.0.1:8080:8080 -v smore-models:/models smore-serve
FROM debian:13-slim

RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates nodejs npm g++ cmake ninja-build python3 python3-pip \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home smore \
 && install -d -o smore -g smore /app /models

USER smore
WORKDIR /app
COPY --chown=smore:smore . .
RUN npm run build

ENV SMORE_HOST=0.0.0.0 SMORE_MODEL_CACHE=/models
VOLUME /models
EXPOSE 8080
HEALTHCHECK --start-period=120s CMD node -e "fetch('http://127.0.0.1:8080/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"
ENTRYPOINT ["node", "scripts/start.mjs"]
