# SPDX-License-Identifier: Apache-2.0
#
# Completion of weir's command line for fish: commands and options are those that weir itself lists.

# What the program says, as it was typed.
function __weir_commands
    set -l words (commandline -opc)
    $words[1] help 2>/dev/null | string replace -rf '^  ([a-z]+) +(.*)' '$1\t$2'
end

function __weir_plugins
    set -l words (commandline -opc)
    $words[1] plugins 2>/dev/null | string replace -r '^(\S+)\s+(.*)' '$1\t$2'
end

function __weir_before
    set -l words (commandline -opc)
    test (count $words) -gt 1; and contains -- $words[-1] $argv
end

function __weir_is
    set -l words (commandline -opc)
    test (count $words) -gt 1; and contains -- $words[2] $argv
end

function __weir_options
    set -l words (commandline -opc)
    $words[1] $words[2] --help 2>/dev/null | string match -rg '^ .*?(--[a-z][a-z-]*)\S*(?: [^ ]+)? +(.*)' | while read -l name
        read -l help
        printf '%s\t%s\n' $name $help
    end
end

set -l values -c --config -d --database -t --token-file --file --ca --cert --key -f --format -s --sort -p --path

complete -c weir -f
complete -c weir -n 'test (count (commandline -opc)) -eq 1' -a '(__weir_commands)'
complete -c weir -n "string match -q -- '-*' (commandline -ct); and not __weir_before $values" -a '(__weir_options)'
complete -c weir -n '__weir_before -c --config -d --database -t --token-file --file --ca --cert --key' -F
complete -c weir -n '__weir_before -p --path' -a '(__fish_complete_directories)'
complete -c weir -n '__weir_before -f --format; and __weir_is sql' -a 'table csv json ndjson arrow'
complete -c weir -n '__weir_before -f --format; and __weir_is run' -a 'ndjson json csv lines'
complete -c weir -n '__weir_before -f --format; and __weir_is token' -F
complete -c weir -n '__weir_before -s --sort; and __weir_is top' -a 'name events rows lag cpu memory queued'
complete -c weir -n "__weir_is token; and test (count (commandline -opc)) -eq 2" -a 'new list revoke'
complete -c weir -n "__weir_is plugin; and test (count (commandline -opc)) -eq 2" -a 'new check'
complete -c weir -n "__weir_is plugins; and not __weir_before $values" -a '(__weir_plugins)'
complete -c weir -n "__weir_is run test plugin backup; and not __weir_before $values" -F
