#!/bin/sh
# git's credential helper inside: it answers `get`, for the rule's repositories only. A prefix that
# ends in / matches everything below it, any other that one repository.
[ "${1-}" = get ] || exit 0
protocol='' host='' path=''
while IFS='=' read -r key value; do
  case $key in
    protocol) protocol=$value ;;
    host) host=$value ;;
    path) path=$value ;;
  esac
done
case /$path/ in */../* | */./* | *//*) exit 0 ;; esac
url=$protocol://$host/${path%.git}
while read -r prefix user token; do
  case $prefix in
    */) case $url in "$prefix"*) ;; *) continue ;; esac ;;
    *) [ "$url" = "${prefix%.git}" ] || continue ;;
  esac
  printf 'username=%s\npassword=%s\n' "$user" "$token"
  exit 0
done </airlock/git-credentials
