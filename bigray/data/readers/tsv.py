"""Tab-separated values: ``text TAB label``. Quotes are plain characters unless options.quoted says otherwise."""

from bigray.data.readers._delimited import Delimited

READER = Delimited("\t")
