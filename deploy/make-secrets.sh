#!/bin/sh
# Writes a random password for each secret of compose.yaml into a folder that only its owner can enter. What is there stays.
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"
for name in postgres_password migrate_password feed_password monitor_password grafana_password; do
    if [ ! -e "$folder/$name" ]; then
        head -c 24 /dev/urandom | base64 >"$folder/$name.new"
        chmod 444 "$folder/$name.new" # in a container it is read by another user
        mv "$folder/$name.new" "$folder/$name"
    fi
done
