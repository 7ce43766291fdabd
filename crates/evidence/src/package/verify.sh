#!/bin/sh
# Verifies a Hewei package: sh verify.sh [CA.pem [PACKAGE_FOLDER]]
# Needs coreutils, awk, sed, grep, find, xargs and openssl. Take this script and CA.pem from outside the package.
# It proves that nothing was changed since sealing. It does not prove that what was said is true.
LC_ALL=C
export LC_ALL
unset CDPATH
umask 077

outside=${1:-}
package=${2:-$(dirname -- "$0")}
case $outside in '' | /*) ;; *) outside=$PWD/$outside ;; esac
[ -z "$outside" ] || [ -f "$outside" ] || { echo "verify.sh: the CA certificate is not there" >&2; exit 2; }
cd -- "$package" || exit 2
ca=${outside:-$PWD/data/seals/ca.pem}
for tool in sha256sum openssl awk sed grep find xargs split; do
    command -v $tool >/dev/null || { echo "verify.sh needs $tool" >&2; exit 2; }
done
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 2' HUP INT TERM
mkdir "$tmp/lines"
: >"$tmp/bad"

# Names and texts from the package may hold anything; only this reaches the terminal.
plain() {
    tr -c '\12\40-\176' '?'
}

# bad FILE PROBLEM
bad() {
    printf 'FAIL %s: %s\n' "$1" "$2" | plain | tee -a "$tmp/bad"
}

# compare MANIFEST NOW: the manifest's text must be exactly the text written again from the files.
compare() {
    cmp -s "$1" "$2" && return
    awk -v name="$1" -v stored="$1" '
        { path = substr($0, 67); hash = substr($0, 1, 64) }
        FILENAME != stored { now[path] = hash; next }
        path in now && now[path] == hash && !(path in seen) { seen[path]; next }
        path in now { wrong[path]; next }
        { print path "\tis named in " name " and is missing (or that line was changed)" }
        END {
            for (path in now) if (path in wrong) print path "\tdoes not agree with its line in " name
            else if (!(path in seen)) print path "\tis not named in " name
        }' "$2" "$1" | sort >"$tmp/differences"
    while IFS='	' read -r path problem; do bad "$path" "$problem"; done <"$tmp/differences"
    bad "$1" "does not agree with the files it names"
}

# 1. Nothing but plain files, with plain names.
find . ! -type d ! -type f >"$tmp/odd"
find . -name '*[!A-Za-z0-9._-]*' >>"$tmp/odd"
while read -r path; do bad "$path" "is no plain file with a plain name"; done <"$tmp/odd"
[ -s "$tmp/odd" ] && exit 1

# 2. The files beside data/.
tags='VERIFY.md bag-info.txt bagit.txt manifest-sha256.txt manifest-sm3.txt verify.sh'
for path in $tags tagmanifest-sha256.txt data/journal/journal.jsonl data/seals/ca.pem; do
    [ -f "$path" ] || bad "$path" "is missing"
done
[ -s "$tmp/bad" ] && { echo "INCOMPLETE"; exit 1; }
find . -mindepth 1 -maxdepth 1 | sed 's|^\./||' | sort >"$tmp/top"
while read -r path; do
    case " $tags tagmanifest-sha256.txt data " in
    *" $path "*) ;;
    *) bad "$path" "does not belong to the package" ;;
    esac
done <"$tmp/top"
find . -type f >"$tmp/all"
find . -mindepth 1 -type d | awk -v all="$tmp/all" '
    FILENAME == all { path = $0; while (sub(/\/[^\/]*$/, "", path)) full[path]; next }
    !($0 in full) { print substr($0, 3) "/" }' "$tmp/all" - | sort >"$tmp/empty"
while read -r path; do bad "$path" "is a folder with nothing in it: it was added"; done <"$tmp/empty"
sha256sum $tags >"$tmp/tags"
compare tagmanifest-sha256.txt "$tmp/tags"

# 3. The files in data/.
find data -type f | sort >"$tmp/files"
xargs sha256sum <"$tmp/files" >"$tmp/data"
compare manifest-sha256.txt "$tmp/data"
if openssl dgst -sm3 -r /dev/null >/dev/null 2>&1; then
    xargs openssl dgst -sm3 -r <"$tmp/files" | sed 's/ \*/  /' >"$tmp/data.sm3"
    compare manifest-sm3.txt "$tmp/data.sm3"
else
    echo "WARNING: this openssl has no SM3; manifest-sm3.txt is held against the tag manifest alone" >&2
fi

# 4. The chain: every line names the hash of the line before.
journal=data/journal/journal.jsonl
split -l 1 -a 6 "$journal" "$tmp/lines/"
find "$tmp/lines" -type f | sort | xargs sha256sum | cut -c 1-64 >"$tmp/hashes"
sed -n 's/^{"seq":\([0-9]*\),"prev":"\([0-9a-f]\{64\}\)","t":"[a-z_]*","at":"[^"]*","mono_ns":[0-9]*[,}].*$/\1 \2/p;t
s/.*/0 0/p' "$journal" | paste -d ' ' - "$tmp/hashes" | awk '
    BEGIN { prev = sprintf("%064d", 0) }
    $1 == "0" { print "line " NR " is no journal line"; exit }
    $1 != NR { print "line " NR " has number " $1; exit }
    $2 != prev { print "line " NR - 1 " was changed, or lines before line " NR " are missing"; exit }
    { prev = $3 }' >"$tmp/chain"
while read -r problem; do bad "$journal" "$problem"; done <"$tmp/chain"
lines=$(awk 'END { print NR }' "$tmp/hashes")
awk '{ print NR, $0 }' "$tmp/hashes" >"$tmp/heads"
sed -n '1{/"t":"open"/p;}' "$journal" | grep -q . || bad "$journal" "does not begin with an open line"
sed -n '${/"t":"close"/p;}' "$journal" | grep -q . || bad "$journal" "does not end with a close line"

# 5. The heads and their signatures.
store=-no-CApath
openssl version | grep -q '^OpenSSL [1-2]\.' || store="$store -no-CAstore"
# The close line says how many heads there were before it; one more signs the close line itself.
close='^{"seq":[0-9]*,"prev":"[0-9a-f]*","t":"close","at":"[^"]*","mono_ns":[0-9]*,"duration_ms":[0-9]*'
heads=$(tail -n 1 "$journal" | sed -n "s/$close,\"heads\":\([0-9]\{1,6\}\),.*/\1/p" | awk '{ print $1 + 1 }')
if [ -z "$heads" ]; then
    bad "$journal" "does not say how many heads there are"
    heads=$(find data/seals -name 'head-*.txt' | awk 'END { print NR }')
fi
# Half the order of P-256.
half=7FFFFFFF800000007FFFFFFFFFFFFFFFDE737D56D38BCF4279DCE5617E3192A8
number=0
signed=0
last=
: >"$tmp/walked"
while [ "$number" -lt "$heads" ]; do
    number=$((number + 1))
    text=$(printf 'data/seals/head-%06d.txt' "$number")
    signature=${text%.txt}.p7s
    printf '%s\n' "$text" "$signature" >>"$tmp/walked"
    for path in "$text" "$signature"; do [ -f "$path" ] || bad "$path" "is missing"; done
    [ -f "$text" ] && [ -f "$signature" ] || continue
    if ! openssl cms -verify -binary -content "$text" -in "$signature" -inform DER -CAfile "$ca" $store \
        -purpose any -no_check_time -out /dev/null 2>"$tmp/openssl"; then
        bad "$text" "its signature $signature does not hold: $(tail -n 1 "$tmp/openssl" | cut -d : -f 5-)"
    fi
    # Of the two values of s that hold for ECDSA only the lower is the recorder's: the signature ends with it.
    s=$(openssl asn1parse -inform DER -in "$signature" 2>/dev/null | sed -n '$s/.*\[HEX DUMP\]:30..02//p' | awk '{
        pairs = "0123456789ABCDEF"
        length_of_r = (index(pairs, substr($0, 1, 1)) - 1) * 16 + index(pairs, substr($0, 2, 1)) - 1
        s = substr($0, 2 * length_of_r + 7)
        while (length(s) < 64) s = "0" s
        print s }')
    if [ ${#s} -ne 64 ] || [ "$(printf '%s\n' "$s" "$half" | sort | tail -n 1)" != "$half" ]; then
        bad "$signature" "is not in the recorder's form"
    fi
    line=$(cat "$text")
    if [ "$(wc -l <"$text")" -ne 1 ] || ! printf '%s\n' "$line" | cmp -s - "$text"; then
        bad "$text" "is not one line"
    elif ! grep -qxF -- "$line" "$tmp/heads"; then
        bad "$text" "does not agree with $journal"
    else
        [ "${line%% *}" -gt "$signed" ] || bad "$text" "counts no more lines than the head before"
        signed=${line%% *}
    fi
    last=$text
done
[ "$signed" = "$lines" ] || bad "$journal" "has $lines lines, and the heads sign $signed of them"

# 6. The journal against the files.
head='^{"seq":[0-9]*,"prev":"[0-9a-f]*"'
tail='"at":"[^"]*","mono_ns":[0-9]*,"file":"\([^"]*\)","bytes":\([0-9]*\),"sha256":"\([0-9a-f]*\)"'
# The end of a file that was lost in an interruption: what is left of it has another line after this one.
gone=$(printf '%064d' 0)
lost='"at":"[^"]*","mono_ns":[0-9]*,"file":"\([^"]*\)","bytes":[0-9]*}$'
sed -n "s/$head,\"t\":\"file\",$tail.*/\\3  \\1/p
s/$head,\"t\":\"lost\",$lost/$gone  \\1/p" "$journal" >"$tmp/journalled"
sed -n "s/$head,\"t\":\"seg\",$tail,\"offset\":\\([0-9]*\\),\"start_ms\":\\([0-9]*\\),.*/\\1 \\4 \\2 \\3 \\5/p" \
    "$journal" >"$tmp/fragments"

# fragment FILE: names the first fragment that is not as journalled.
fragment() {
    grep -F -- "$1 " "$tmp/fragments" | while read -r path offset bytes hash start; do
        [ "$path" = "$1" ] || continue
        now=$(tail -c "+$((offset + 1))" "$path" | head -c "$bytes" | sha256sum | cut -c 1-64)
        [ "$now" = "$hash" ] && continue
        bad "$path" "the first bad fragment begins at byte $offset, $start ms after the recording's start"
        break
    done
}
awk -v journalled="$tmp/journalled" -v walked="$tmp/walked" -v gone="$gone" '
    FILENAME == journalled && substr($0, 1, 64) == gone { delete want[substr($0, 67)]; next }
    FILENAME == journalled { want[substr($0, 67)] = substr($0, 1, 64); next }
    FILENAME == walked { head[$0]; next }
    { path = substr($0, 67) }
    path in want {
        if (want[path] != substr($0, 1, 64)) print path "\twas changed: it does not agree with the journal"
        delete want[path]; next
    }
    path == "data/journal/journal.jsonl" || path in head { next }
    { print path "\tis not in the journal: it was added" }
    END { for (path in want) print path "\tis in the journal and is missing" }' \
    "$tmp/journalled" "$tmp/walked" "$tmp/data" | sort >"$tmp/differences"
while IFS='	' read -r path problem; do
    bad "$path" "$problem"
    [ -f "$path" ] && fragment "$path"
done <"$tmp/differences"
for path in VERIFY.md bag-info.txt bagit.txt verify.sh; do
    want=$(tail -n 1 "$journal" | sed -n "s/.*\"tag_files\":{[^}]*\"$path\":\"\\([0-9a-f]*\\)\".*/\\1/p")
    grep -qxF -- "$want  $path" "$tmp/tags" || bad "$path" "does not agree with the journal"
done

if [ -s "$tmp/bad" ]; then
    echo "ALTERED OR INCOMPLETE: $(cut -d : -f 1 "$tmp/bad" | sort -u | awk 'END { print NR }') files"
    exit 1
fi
echo "files:  $(awk 'END { print NR }' "$tmp/data" "$tmp/tags")"
echo "lines:  $lines"
echo "heads:  $number"
echo "head:   $(sha256sum "$last" | cut -c 1-64)"
openssl cms -verify -binary -content "$last" -in "${last%.txt}.p7s" -inform DER -CAfile "$ca" $store \
    -purpose any -no_check_time -out /dev/null -signer "$tmp/signer" 2>/dev/null
recovered='"t":"recovered","at":"\([^"]*\)","mono_ns":[0-9]*,"last_written":"\([^"]*\)"'
count='"kept_bytes":[0-9]*,"cut_bytes":\([0-9]*\),"lost_bytes":\([0-9]*\),"journal_cut_bytes":\([0-9]*\)'
sed -n "s/$head,$recovered,$count.*/NOTE:   interrupted at \\2, recovered at \\1: \
\\3 bytes of media and \\5 of the journal were half written and taken away, \\4 were lost/p" "$journal" | plain
echo "signer: $(openssl x509 -in "$tmp/signer" -noout -subject 2>/dev/null | plain)"
echo "This does not prove that what was said is true."
if [ -z "$outside" ]; then
    # Whoever forges a package forges the CA certificate in it as well.
    printf '%s %s\n' "CONSISTENT; SIGNER NOT CHECKED: give the recorder's CA as first argument" \
        "前后一致，但未核对签名者：请把录制方的 CA 证书作为第一个参数"
    exit 0
fi
echo "Nothing was changed since sealing."
echo "OK"
