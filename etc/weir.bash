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
    --file)
        _filedir
        return
        ;;
    -f | --format)
        if [ "$command" = token ]; then
            _filedir
            return
        fi
        mapfile -t COMPREPLY < <(compgen -W "ndjson json csv $([ "$command" = sql ] && echo table || echo lines)" -- "$cur")
        return
        ;;
    esac
    if [ "$cword" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W 'serve check doctor run test plugins plugin schema sql backup token version' -- "$cur")
    elif [ "$command" = token ] && [ "$cword" = 2 ]; then
        mapfile -t COMPREPLY < <(compgen -W 'new list revoke' -- "$cur")
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
