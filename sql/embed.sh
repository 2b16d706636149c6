#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Turns text files into C string constants, on standard output:
#     embed.sh HEADER PREFIX FILE...
# FILE a/0001_b.sql becomes `const char PREFIX_0001_b[]`, declared in HEADER.
set -e
header=$1
prefix=$2
shift 2
echo "/* Made by sql/embed.sh; do not edit. */"
echo "#include \"$header\""
for file in "$@"; do
    name=`basename "$file" | sed -e 's/\.[a-z]*$//' -e 's/[^A-Za-z0-9]/_/g'`
    echo
    echo "const char ${prefix}_$name[] ="
    sed -e 's/[\\"]/\\&/g' -e 's/^/    "/' -e 's/$/\\n"/' "$file"
    echo "    ;"
done
