# SPDX-License-Identifier: Apache-2.0
#
# Completion of weir's command line for bash (bash-completion 2).

_weir() {
    local cur prev words cword command
    _init_completion -n : || return
    command=${words[1]}
    case $prev in
    -c | --config)
        _filedir '@(yaml|yml)'
        return
        ;;
    --file | --token-file | --ca | --cert | --key | -d | --database)
        _filedir
        return
        ;;
    -p | --path)
        _filedir -d
        return
        ;;
    -s | --sort)
        [ "$command" = top ] || return
        mapfile -t COMPREPLY < <(compgen -W 'name events rows lag cpu memory queued' -- "$cur")
        return
        ;;
    -t)
        _filedir
        return
        ;;
    -f | --format)
        if [ "$command" = token ]; then
            _filedir
            return
        fi
        mapfile -t COMPREPLY < <(compgen -W "ndjson json csv $([ "$command" = sql ] && echo table arrow || echo lines)" -- "$cur")
        return
        ;;
    esac
    if [ "$cword" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$("$1" help 2>/dev/null | sed -n 's/^  \([a-z]*\) .*/\1/p')" -- "$cur")
    elif [ "$command" = token ] && [ "$cword" = 2 ]; then
        mapfile -t COMPREPLY < <(compgen -W 'new list revoke' -- "$cur")
    elif [ "$command" = plugin ] && [ "$cword" = 2 ]; then
        mapfile -t COMPREPLY < <(compgen -W 'new check' -- "$cur")
    elif [[ $cur == -* ]]; then
        # What the subcommand itself says it takes.
        mapfile -t COMPREPLY < <(compgen -W "$("$1" "$command" --help 2>/dev/null |
            grep -oE -- '--[a-z-]+' | sort -u)" -- "$cur")
    elif [ "$command" = run ] || [ "$command" = test ]; then
        _filedir
    elif [ "$command" = plugins ]; then
        mapfile -t COMPREPLY < <(compgen -W "$("$1" plugins 2>/dev/null | awk '{ print $1 }')" -- "$cur")
    fi
} && complete -F _weir weir
