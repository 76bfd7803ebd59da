#!/bin/sh
# What jobs need of an image, and where it is: a line for each, "name=path" or "name=".
# Runs in the image, in a container that is opened as a job's is.
read -r message </airlock/go
[ "$message" = go ] || exit 125
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
for program in bash git ssh ssh-keyscan; do
  echo "$program=$(command -v "$program")"
done
certificates=
for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem \
  /etc/ssl/ca-bundle.pem /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem; do
  [ -n "$certificates" ] || [ ! -s "$file" ] || certificates=$file
done
echo "ca-certificates=$certificates"
